-- Handed over ahead of its time: what a platform has been given to send at a later moment, and what is wanted back.
--
-- Such a delivery is `sending` and no node's. A hand-over is noted in the mark's transaction, so what may be at the
-- platform is known whatever dies; it is open until the delivery is no longer `sending` or `uncertain` under its token.

create table duly.handed_over (
  delivery_id uuid not null,
  lease_token bigint not null,
  workspace_id integer not null,
  account text not null,
  address_key uuid,
  channel text not null,
  category text not null,
  send_at timestamptz not null,
  provider_id text,                             -- null until the platform is known to have it
  at timestamptz not null default now(),
  looked_at timestamptz,                        -- when the rules were asked once more, shortly before
  ask_at timestamptz not null default now(),    -- no earlier is the platform asked (again) about it
  asks smallint not null default 0,
  ended_at timestamptz,
  primary key (delivery_id, lease_token, workspace_id)
);
create index handed_over_send_at on duly.handed_over (send_at) where ended_at is null;
create index handed_over_address on duly.handed_over (address_key) where ended_at is null;

-- What is wanted back from a platform, and what it becomes then. Only added to by whoever wants it, so that a STOP
-- waits for nobody; `done` when nothing is left to take back. Also what was put off without asking anybody.
create table duly.recall (
  id bigint generated always as identity,
  delivery_id uuid not null,
  workspace_id integer not null,
  becomes duly.state not null check (becomes in ('skipped', 'canceled', 'queued')),
  reason text not null,
  due_at timestamptz,   -- of what is queued again: the new time; null: as it was
  who text not null,
  at timestamptz not null default now(),
  done boolean not null default false,
  primary key (delivery_id, id, workspace_id)
);
create index recall_open on duly.recall (delivery_id) where not done;

select duly.protect('{handed_over,recall}');

alter type duly.act add value 'rescheduled';

-- Wants deliveries back that are handed over; returns how many are. What becomes of them the platform's answer decides.
create function duly.ask_back(
  ids uuid[], becomes duly.state, reason text, due_at timestamptz default null, who text default 'duly'
) returns bigint
language plpgsql set search_path = duly, pg_temp
as $$
declare
  asked bigint;
begin
  insert into duly.recall (delivery_id, workspace_id, becomes, reason, due_at, who)
  select h.delivery_id, h.workspace_id, ask_back.becomes, ask_back.reason, ask_back.due_at, left(ask_back.who, 200)
  from duly.handed_over h where h.delivery_id = any (ids) and h.ended_at is null;
  get diagnostics asked = row_count;
  return asked;
end $$;

-- Whoever must not be written to gets nothing that is handed over either.
create function duly.recall_suppressed() returns trigger
language plpgsql security definer set search_path = duly, pg_temp
as $$
begin
  if exists (select from duly.handed_over h where h.ended_at is null) then
    insert into duly.recall (delivery_id, workspace_id, becomes, reason, who)
    select h.delivery_id, h.workspace_id, 'skipped', s.reason, 'duly'
    from added s
    join duly.handed_over h on h.address_key = s.address_key and h.ended_at is null
    where s.workspace_id in (0, h.workspace_id) and s.channel in ('', h.channel) and s.category in ('', h.category)
      and s.account in ('', h.account);
  end if;
  return null;
end $$;
create trigger recall_suppressed after insert on duly.suppression referencing new table as added
  for each statement execute function duly.recall_suppressed();

-- Brings these deliveries' hand-overs in line with what has become of them: learns the platform's id, ends what is over,
-- and does what is wanted of what the platform does not have: because it never took it or, with `canceled`, because it
-- says that it has canceled it. Of several wishes an end goes before a new time, then the first end, the last time.
-- Returns how many deliveries became what was wanted.
create function duly.settle_handed_over(ids uuid[], canceled boolean default false) returns bigint
language plpgsql set search_path = duly, pg_temp
as $$
declare
  d duly.delivery_row;
  own duly.handed_over;
  wish duly.recall;
  settled bigint := 0;
begin
  for d in select r.* from duly.delivery_row r where r.id = any (ids) order by r.id for update loop
    select h.* into own from duly.handed_over h
    where h.delivery_id = d.id and h.workspace_id = d.workspace_id and h.lease_token = d.lease_token and h.ended_at is null;
    select c.* into wish from duly.recall c
    where c.delivery_id = d.id and c.workspace_id = d.workspace_id and not c.done
    order by c.becomes = 'queued', case when c.becomes = 'queued' then -c.id else c.id end limit 1;
    if wish.id is not null and (
      d.state in ('queued', 'leased') or canceled and own.delivery_id is not null and d.state in ('sending', 'uncertain'))
    then
      update duly.delivery_row r
      set state = wish.becomes,
          reason = case when wish.becomes = 'queued' then null else wish.reason end,
          detail = case when wish.becomes = 'queued' or not canceled then null else 'canceled at the platform in time' end,
          due_at = case when wish.becomes = 'queued' then coalesce(wish.due_at, r.due_at) else r.due_at end,
          planned_for = case when wish.due_at is not null then coalesce(r.planned_for, r.due_at) else r.planned_for end,
          provider_id = case when wish.becomes = 'queued' then null else r.provider_id end,
          forgiven = case when wish.becomes = 'queued' then r.attempts else r.forgiven end,
          lease_token = null, node_id = null, state_at = now()
      where r.id = d.id and r.workspace_id = d.workspace_id
      returning r.* into d;
      if d.state = 'queued' then
        perform duly.tell(d.workspace_id, d.channel::text, d.priority, d.due_at);
      end if;
      settled := settled + 1;
    end if;
    if d.state in ('sending', 'uncertain') then
      update duly.handed_over h
      set provider_id = coalesce(h.provider_id, case when h.lease_token = d.lease_token and d.state = 'sending'
                                                       and d.node_id is null then d.provider_id end),
          ended_at = case when h.lease_token is distinct from d.lease_token then now() end
      where h.delivery_id = d.id and h.workspace_id = d.workspace_id and h.ended_at is null
        and (h.lease_token is distinct from d.lease_token or h.provider_id is null);
    else
      update duly.handed_over h set ended_at = now()
      where h.delivery_id = d.id and h.workspace_id = d.workspace_id and h.ended_at is null;
      update duly.recall c set done = true
      where c.delivery_id = d.id and c.workspace_id = d.workspace_id and not c.done;
    end if;
  end loop;
  return settled;
end $$;

-- As in 0008. Null: the platform has it for later and has been asked to cancel it; the delivery's state tells what
-- it answers.
create or replace function duly.cancel(id uuid) returns boolean
language plpgsql security definer set search_path = duly, pg_temp
as $$
declare
  present duly.delivery_row;
  whose integer;
begin
  update duly.delivery_row d
  set state = 'canceled', reason = 'canceled', state_at = now(), lease_token = null, node_id = null
  where d.id = cancel.id and d.state in ('queued', 'leased')
    and d.workspace_id in (select duly.writable_workspaces())
  returning d.workspace_id into whose;
  if found then
    perform duly.audit_append(duly.caller(), 'canceled', whose, id::text);
    return true;
  end if;
  select d.* into present from duly.delivery_row d
  where d.id = cancel.id and d.workspace_id in (select duly.writable_workspaces());
  if not found then
    raise exception 'id: there is no delivery %', id using errcode = 'P0002';
  end if;
  if present.state in ('sending', 'uncertain')
     and duly.ask_back(array[cancel.id], 'canceled', 'canceled', null, duly.caller()) > 0 then
    perform duly.audit_append(duly.caller(), 'canceled', present.workspace_id, id::text, '{"asked": "platform"}');
    return null;
  end if;
  return present.state = 'canceled';
end $$;

-- Gives a delivery another time. True: it has it; false: too late; null: the platform has it for the old time and has
-- been asked to cancel it; then it is queued for the new one. Raises 22023 for a time that cannot be, P0002 without it.
create function duly.reschedule(id uuid, due_at timestamptz) returns boolean
language plpgsql security definer set search_path = duly, pg_temp
as $$
declare
  d duly.delivery_row;
  before timestamptz;
begin
  if due_at is null or due_at < '2000-01-01Z' or due_at > now() + interval '5 years' then
    raise exception 'due_at: must be a time between the year 2000 and five years from now' using errcode = '22023';
  end if;
  select r.* into d from duly.delivery_row r
  where r.id = reschedule.id and r.workspace_id in (select duly.writable_workspaces())
  for update;
  if not found then
    raise exception 'id: there is no delivery %', id using errcode = 'P0002';
  elsif d.expires_at <= due_at then
    raise exception 'due_at: must be before %, when the delivery expires',
      to_char(d.expires_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS"Z"') using errcode = '22023';
  end if;
  if d.state in ('queued', 'leased') then
    before := d.due_at;
    update duly.delivery_row r
    set state = 'queued', due_at = reschedule.due_at, planned_for = coalesce(r.planned_for, before), reason = null,
        detail = null, lease_token = null, node_id = null, state_at = now()
    where r.id = d.id and r.workspace_id = d.workspace_id;
    insert into duly.recall (delivery_id, workspace_id, becomes, reason, due_at, who, done)
    values (d.id, d.workspace_id, 'queued', 'rescheduled', due_at, left(duly.caller(), 200), true);
    perform duly.tell(d.workspace_id, d.channel::text, d.priority, due_at);
  elsif d.state not in ('sending', 'uncertain')
        or duly.ask_back(array[d.id], 'queued', 'rescheduled', due_at, duly.caller()) = 0 then
    return false;
  end if;
  -- Whoever plans leaves what a person has decided.
  update duly.planned p set spread_at = now()
  where p.delivery_id = d.id and p.workspace_id = d.workspace_id and p.spread_at is null;
  perform duly.audit_append(duly.caller(), 'rescheduled', d.workspace_id, id::text, jsonb_build_object('due_at', due_at));
  return case when d.state in ('queued', 'leased') then true end;
end $$;

-- As in 0012, but what a platform holds for later does not keep an erasure waiting: it is known there by an id that says
-- nothing, and is wanted back.
create or replace function duly.check_none_open(workspace integer, ids uuid[]) returns void
language plpgsql
as $$
declare
  open record;
begin
  perform from duly.delivery_row d where d.id = any (ids) and d.workspace_id = workspace order by d.id for update;
  select d.id, d.state, d.state = 'uncertain' and d.ask_at is null as undecided, count(*) over () as total into open
  from duly.delivery_row d
  where d.id = any (ids) and d.workspace_id = workspace and d.state in ('leased', 'sending', 'uncertain')
    and not (d.state = 'sending' and exists (
      select from duly.handed_over h
      where h.delivery_id = d.id and h.workspace_id = d.workspace_id and h.lease_token = d.lease_token
        and h.ended_at is null and h.provider_id is not null))
  order by d.id limit 1;
  if found then
    raise exception 'delivery % is %, and % in all are open: %', open.id, open.state, open.total,
      case when open.undecided then 'decide on it with `duly replay`, then erase again'
           else 'wait until its call has ended, then erase again' end
      using errcode = '55006';
  end if;
end $$;

-- What is removed takes its hand-overs with it.
create function duly.forget_handed_over() returns trigger
language plpgsql security definer set search_path = duly, pg_temp
as $$
begin
  delete from duly.handed_over h using gone g where h.delivery_id = g.id and h.workspace_id = g.workspace_id;
  delete from duly.recall c using gone g where c.delivery_id = g.id and c.workspace_id = g.workspace_id;
  return null;
end $$;
create trigger forget_handed_over after delete on duly.delivery_row referencing old table as gone
  for each statement execute function duly.forget_handed_over();

revoke all on all functions in schema duly from public;
grant execute on function duly.reschedule(uuid, timestamptz) to duly_producer, duly_daemon;
grant execute on function
  duly.ask_back(uuid[], duly.state, text, timestamptz, text), duly.settle_handed_over(uuid[], boolean)
  to duly_daemon;
grant select, insert, update on duly.handed_over, duly.recall to duly_daemon;
