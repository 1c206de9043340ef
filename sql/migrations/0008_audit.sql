-- Who changed what: lines that are only ever added, each with the hash of the one before it.
--
-- An act writes its line into `audit_intake` in its own transaction, where nobody waits for anybody. A daemon moves
-- committed lines into `audit` within seconds: numbers without gaps, and the chain, need one writer at a time. No line
-- has an address or a text of a message, as none can ever be erased.

-- What can be done: the same as Act in daemon/store/audit.py; a test holds them together.
create type duly.act as enum (
  'config_reloaded', 'replayed', 'dismissed', 'canceled', 'consent_recorded', 'suppression_added', 'suppression_lifted',
  'contacts_imported', 'erased', 'exported', 'verified', 'verification_withdrawn', 'login_succeeded', 'login_failed',
  'retention_applied', 'keys_rotated'
);

-- Only duly.audit_append inserts, and checks: constraints would be read anew for each row and cost four times the row.
create table duly.audit_intake (
  id bigint generated always as identity primary key,
  at timestamptz not null default clock_timestamp(),
  who text not null,
  what duly.act not null,
  workspace_id integer,     -- null: the whole instance
  subject text,             -- an id
  detail jsonb not null
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000);

create table duly.audit (
  id bigint primary key,    -- 1, 2, 3 … without gaps
  at timestamptz not null,
  who text not null,
  what text not null,
  workspace_id integer,
  subject text,
  detail jsonb not null,
  previous bytea not null,  -- the hash of the line before; of the first: zeros
  hash bytea not null       -- see duly.audit_hash
);
-- Lines are nearly in the order of their times.
create index audit_at on duly.audit using brin (at) with (pages_per_range = 16);

-- The newest line; its lock makes one writer at a time. It also shows when the newest lines were removed.
create table duly.audit_head (
  one boolean primary key default true check (one),
  id bigint not null,
  hash bytea not null
);
insert into duly.audit_head (id, hash) values (0, decode(repeat('00', 32), 'hex'));

create function duly.audit_refuse() returns trigger
language plpgsql
as $$
begin
  raise exception 'duly.%: % is refused: the audit is only added to', tg_table_name, lower(tg_op)
    using errcode = '42501';
end $$;

create trigger append_only before update or delete or truncate on duly.audit
  for each statement execute function duly.audit_refuse();
create trigger append_only before update or truncate on duly.audit_intake
  for each statement execute function duly.audit_refuse();
create trigger append_only before delete or truncate on duly.audit_head
  for each statement execute function duly.audit_refuse();
-- Also for a session that has turned off what a replica need not do.
alter table duly.audit enable always trigger append_only;
alter table duly.audit_intake enable always trigger append_only;
alter table duly.audit_head enable always trigger append_only;

-- A value so that no two lists of values give the same bytes: its length in four bytes, then itself; null: -1.
create function duly.audit_field(value bytea) returns bytea
language sql immutable parallel safe
as $$ select coalesce(int4send(octet_length(value)) || value, int4send(-1)) $$;

-- The hash of a line: sha256 of the previous one (32 bytes), the id and the time in microseconds since 1970 (8 bytes
-- each, big-endian), then who, what, the workspace's id (4 bytes), the subject, and detail as Postgres writes a
-- jsonb, each by `duly.audit_field`. The same as line_hash in daemon/store/audit.py; a test holds them together.
create function duly.audit_hash(
  previous bytea, id bigint, at timestamptz, who text, what text, workspace_id integer, subject text, detail jsonb
) returns bytea
language sql stable parallel safe
as $$
  select sha256(
    previous || int8send(id) || int8send((extract(epoch from at) * 1000000)::bigint)
    || duly.audit_field(convert_to(who, 'UTF8')) || duly.audit_field(convert_to(what, 'UTF8'))
    || duly.audit_field(int4send(workspace_id)) || duly.audit_field(convert_to(subject, 'UTF8'))
    || duly.audit_field(convert_to(detail::text, 'UTF8')))
$$;

-- Records an act in the caller's transaction: the line is there if and only if the act is. It waits for nobody.
-- `who`: 1 to 200 characters; `what`: a duly.act; `subject`: an id of at most 200 characters; `detail`: an object of at
-- most 8 KiB, without an address. Raises 22023 or 22P02 for anything else.
create function duly.audit_append(
  who text, what text, workspace_id integer default null, subject text default null, detail jsonb default '{}'
) returns void
language plpgsql security definer set search_path = duly, pg_temp
as $$
begin
  if who is null or char_length(who) not between 1 and 200 then
    raise exception 'who: must have 1 to 200 characters' using errcode = '22023';
  elsif char_length(subject) > 200 then
    raise exception 'subject: must be an id of at most 200 characters' using errcode = '22023';
  elsif jsonb_typeof(detail) is distinct from 'object' or octet_length(detail::text) > 8192 then
    raise exception 'detail: must be a JSON object of at most 8 KiB' using errcode = '22023';
  end if;
  insert into duly.audit_intake (who, what, workspace_id, subject, detail)
  values (who, what::duly.act, workspace_id, subject, detail);
end $$;

-- Moves up to `most` committed lines to the end of the chain, in the order in which they were written down as far as
-- they are to be seen. Returns how many, and the new head; 0 where there are none or another is at it.
create function duly.audit_chain(most integer, out chained integer, out head_id bigint, out head_hash bytea)
language plpgsql security definer set search_path = duly, pg_temp
as $$
declare
  entry duly.audit_intake;
  previous bytea;
begin
  chained := 0;
  if not exists (select from duly.audit_intake) then return; end if;
  select h.id, h.hash into head_id, head_hash from duly.audit_head h for update skip locked;
  if not found then return; end if;
  -- This statement sees what was committed before it began, and so all that the last holder of the lock has moved.
  for entry in
    with taken as (
      delete from duly.audit_intake i
      where i.id in (select w.id from duly.audit_intake w order by w.id limit most)
      returning i.*
    )
    select * from taken t order by t.id
  loop
    chained := chained + 1;
    head_id := head_id + 1;
    previous := head_hash;
    head_hash := duly.audit_hash(
      previous, head_id, entry.at, entry.who, entry.what::text, entry.workspace_id, entry.subject, entry.detail);
    insert into duly.audit (id, at, who, what, workspace_id, subject, detail, previous, hash)
    values (head_id, entry.at, entry.who, entry.what::text, entry.workspace_id, entry.subject, entry.detail,
            previous, head_hash);
  end loop;
  update duly.audit_head h set id = audit_chain.head_id, hash = audit_chain.head_hash;
end $$;

-- As in 0003, and recorded.
create or replace function duly.cancel(id uuid) returns boolean
language plpgsql security definer set search_path = duly, pg_temp
as $$
declare
  present duly.state;
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
  select d.state into present from duly.delivery_row d
  where d.id = cancel.id and d.workspace_id in (select duly.writable_workspaces());
  if not found then
    raise exception 'id: there is no delivery %', id using errcode = 'P0002';
  end if;
  return present = 'canceled';
end $$;

-- As in 0005, and recorded: a line per workspace, with how many and by which filter. `why` stays with the delivery
-- alone, as people may write names into it.
create or replace function duly.decide(
  decision text, who text, why text, workspace text, reason text, since timestamptz, until timestamptz, ids uuid[]
) returns bigint
language plpgsql security definer set search_path = duly, pg_temp
as $$
declare
  changed bigint := 0;
  part record;
  filter jsonb := jsonb_strip_nulls(jsonb_build_object(
    'reason', reason, 'since', since, 'until', until, 'ids', to_jsonb(ids[1:20]), 'ids_given', cardinality(ids)));
begin
  if coalesce(btrim(who), '') = '' or char_length(who) > 200 then
    raise exception 'who: say who decides, in at most 200 characters' using errcode = '22023';
  end if;
  if coalesce(btrim(why), '') = '' or char_length(why) > 1000 then
    raise exception 'why: give the reason, in at most 1000 characters' using errcode = '22023';
  end if;
  for part in
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
      returning delivery_id, workspace_id
    )
    select r.workspace_id as id, count(*) as count, min(r.delivery_id::text) as one
    from remembered r group by r.workspace_id order by r.workspace_id
  loop
    changed := changed + part.count;
    perform duly.audit_append(
      who, decision, part.id, case when part.count = 1 then part.one end,
      jsonb_build_object('count', part.count, 'login', duly.caller(), 'filter', filter));
  end loop;
  if decision = 'replayed' and changed > 0 then
    perform pg_notify('duly', 'look');
  end if;
  return changed;
end $$;

revoke all on function
  duly.audit_refuse(), duly.audit_field(bytea),
  duly.audit_hash(bytea, bigint, timestamptz, text, text, integer, text, jsonb),
  duly.audit_append(text, text, integer, text, jsonb), duly.audit_chain(integer)
  from public;
-- The daemon records what it does itself, chains, and reads; nobody else has any right here.
grant execute on function duly.audit_append(text, text, integer, text, jsonb), duly.audit_chain(integer) to duly_daemon;
grant select on duly.audit_intake, duly.audit, duly.audit_head to duly_daemon;
