-- Asking the platform what became of a call, and people's decisions about deliveries that ended badly.

alter table duly.delivery_row
  add column sending_at timestamptz,               -- when the last call was marked: no earlier can it have begun
  add column ask_at timestamptz,                   -- uncertain: when to ask the platform; null: a person must decide
  add column asks smallint not null default 0,     -- uncertain: how often it was asked
  add column forgiven smallint not null default 0; -- attempts made before a person replayed it

drop index duly.delivery_row_uncertain;
create index delivery_row_uncertain on duly.delivery_row (ask_at) where state = 'uncertain';

-- Whose is this message of the platform? Every provider id that we learn goes into an attempt.
create index attempt_provider_id on duly.attempt (provider_id) where provider_id is not null;

alter table duly.callback add column from_state duly.state;

-- Each answer of the reconciler.
create table duly.resolution (
  delivery_id uuid not null,
  workspace_id integer not null,
  lease_token bigint not null,
  number smallint not null, -- which ask it was
  answer text not null check (answer in ('found', 'absent', 'cannot_tell')),
  became duly.state not null,
  detail text,
  at timestamptz not null default now(),
  primary key (delivery_id, lease_token, number, workspace_id)
);

-- What people decided: who, what and why.
create table duly.decision (
  id bigint generated always as identity,
  delivery_id uuid not null,
  workspace_id integer not null,
  decision text not null check (decision in ('replayed', 'dismissed')),
  from_reason text,
  who text not null,
  why text not null,
  at timestamptz not null default now(),
  primary key (delivery_id, id, workspace_id)
);

alter table duly.delivery_row add column dismissed_at timestamptz;
drop index duly.delivery_row_failed;
create index delivery_row_failed on duly.delivery_row (state_at) where state = 'failed' and dismissed_at is null;

-- Whom to tell that a delivery ended badly, until they have been told.
create table duly.notice (
  id bigint generated always as identity primary key,
  workspace_id integer not null,
  delivery_id uuid not null,
  reason text not null,
  url text not null,
  made_at timestamptz not null default now(),
  tell_at timestamptz not null default now(),
  tries smallint not null default 0
);
create index notice_tell_at on duly.notice (tell_at);

-- The dead letters that a replay or a dismissal means: failed and not dismissed, or uncertain and left to a
-- person. Null: any.
create function duly.dead_letters(
  workspace text default null, reason text default null, since timestamptz default null,
  until timestamptz default null, ids uuid[] default null
) returns table (id uuid, workspace_id integer, workspace_name text, state duly.state, reason_code text, at timestamptz)
language sql stable security definer set search_path = duly, pg_temp
as $$
  select d.id, d.workspace_id, w.name, d.state, d.reason, d.state_at
  from duly.delivery_row d join duly.workspace w on w.id = d.workspace_id
  where (d.state = 'failed' and d.dismissed_at is null or d.state = 'uncertain' and d.ask_at is null)
    and d.workspace_id in (select duly.writable_workspaces())
    and (dead_letters.workspace is null or w.name = dead_letters.workspace)
    and (dead_letters.reason is null or d.reason = dead_letters.reason)
    and (since is null or d.state_at >= since)
    and (until is null or d.state_at < until)
    and (ids is null or d.id = any (ids))
$$;

create function duly.decide(
  decision text, who text, why text, workspace text, reason text, since timestamptz, until timestamptz, ids uuid[]
) returns bigint
language plpgsql security definer set search_path = duly, pg_temp
as $$
declare
  changed bigint;
begin
  if coalesce(btrim(who), '') = '' or char_length(who) > 200 then
    raise exception 'who: say who decides, in at most 200 characters' using errcode = '22023';
  end if;
  if coalesce(btrim(why), '') = '' or char_length(why) > 1000 then
    raise exception 'why: give the reason, in at most 1000 characters' using errcode = '22023';
  end if;
  with meant as (
    select d.id, d.workspace_id, d.reason from duly.delivery_row d
    where (d.id, d.workspace_id) in (
      select l.id, l.workspace_id from duly.dead_letters(decide.workspace, decide.reason, since, until, ids) l)
      and (d.state = 'failed' and d.dismissed_at is null or d.state = 'uncertain' and d.ask_at is null)
    for update
  ), changed_rows as (
    update duly.delivery_row d
    set state = (case when decision = 'replayed' then 'queued' else 'failed' end)::duly.state,
        due_at = case when decision = 'replayed' then greatest(d.due_at, now()) else d.due_at end,
        forgiven = case when decision = 'replayed' then d.attempts else d.forgiven end,
        dismissed_at = case when decision = 'dismissed' then now() end,
        lease_token = null, node_id = null, asks = 0,
        provider_id = case when decision = 'replayed' then null else d.provider_id end,
        sent_at = case when decision = 'replayed' then null else d.sent_at end,
        state_at = now()
    from meant
    where d.id = meant.id and d.workspace_id = meant.workspace_id
    returning d.id, d.workspace_id, meant.reason
  ), remembered as (
    insert into duly.decision (delivery_id, workspace_id, decision, from_reason, who, why)
    select c.id, c.workspace_id, decide.decision, c.reason, decide.who, decide.why from changed_rows c
    returning 1
  )
  select count(*) into changed from remembered;
  if decision = 'replayed' and changed > 0 then
    perform pg_notify('duly', 'look');
  end if;
  return changed;
end $$;

-- Sends dead letters again; returns how many. An uncertain one that a person replays may arrive twice: the
-- person has been told that nobody can say.
create function duly.replay(
  who text, why text, workspace text default null, reason text default null, since timestamptz default null,
  until timestamptz default null, ids uuid[] default null
) returns bigint
language sql security definer set search_path = duly, pg_temp
as $$ select duly.decide('replayed', who, why, workspace, reason, since, until, ids) $$;

-- Puts dead letters aside; returns how many.
create function duly.dismiss(
  who text, why text, workspace text default null, reason text default null, since timestamptz default null,
  until timestamptz default null, ids uuid[] default null
) returns bigint
language sql security definer set search_path = duly, pg_temp
as $$ select duly.decide('dismissed', who, why, workspace, reason, since, until, ids) $$;

revoke all on function
  duly.dead_letters(text, text, timestamptz, timestamptz, uuid[]),
  duly.decide(text, text, text, text, text, timestamptz, timestamptz, uuid[]),
  duly.replay(text, text, text, text, timestamptz, timestamptz, uuid[]),
  duly.dismiss(text, text, text, text, timestamptz, timestamptz, uuid[])
  from public;
grant execute on function
  duly.dead_letters(text, text, timestamptz, timestamptz, uuid[]),
  duly.replay(text, text, text, text, timestamptz, timestamptz, uuid[]),
  duly.dismiss(text, text, text, text, timestamptz, timestamptz, uuid[])
  to duly_daemon, duly_producer;
grant select on duly.resolution, duly.decision, duly.notice to duly_daemon;
grant insert on duly.resolution, duly.notice to duly_daemon;
grant update on duly.attempt, duly.notice to duly_daemon;
grant delete on duly.notice to duly_daemon;
