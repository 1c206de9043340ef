-- What the four files beside this one share: small tables for what Duly itself has no place for, and functions that
-- turn what existing code writes into Duly's own calls. `duly migrate --compat` runs it first. Everything is made once
-- and replaced afterwards; nobody has a right on the tables, only on the views over them.

create schema if not exists duly_compat;
comment on schema duly_compat is 'Duly: compatible SQL';
revoke all on schema duly_compat from public;
grant usage on schema duly_compat to duly_daemon, duly_producer, duly_reader;

-- Which file stands in which schema of the application, for which workspace, and who sends what is queued there.
create table if not exists duly_compat.installed (
  schema_name name not null,
  part text not null check (part in ('rundown', 'patients', 'buildos', 'prasso')),
  workspace_id integer not null,
  category text not null default 'transactional',
  sender text not null default 'duly' check (sender in ('duly', 'foreign')),
  primary key (schema_name, part)
);

-- Which team of an application is which workspace.
create table if not exists duly_compat.team (
  schema_name name not null,
  team_id bigint not null,
  workspace_id integer not null,
  primary key (schema_name, team_id)
);

-- What the application knows of a delivery and Duly does not: its own id for it, whose it is, and the like. A delivery
-- without an entry, as the planner's, is shown under Duly's own id.
create table if not exists duly_compat.entry (
  id uuid not null,
  workspace_id integer not null,
  delivery_id uuid not null,
  schema_name name,          -- prasso: ids are numbers, which each schema counts for itself
  number bigint,
  message_number bigint,
  recipient_type text,
  recipient_id bigint,
  user_id uuid,
  contact_id uuid,
  priority integer,          -- as it was given
  most_attempts integer,
  due_at timestamptz,        -- of what a foreign sender sends; null: Duly does
  hidden boolean not null default false, -- the application has deleted it
  primary key (id, workspace_id)
);
create unique index if not exists entry_delivery on duly_compat.entry (delivery_id, workspace_id);
create unique index if not exists entry_number on duly_compat.entry (schema_name, number) where number is not null;
create index if not exists entry_message on duly_compat.entry (schema_name, message_number) where message_number is not null;
create index if not exists entry_foreign on duly_compat.entry (workspace_id, due_at) where due_at is not null;
create sequence if not exists duly_compat.entry_numbers;

-- A message of prasso's before it has deliveries, which is no message of Duly's yet.
create table if not exists duly_compat.msg_message (
  schema_name name not null,
  id bigint not null,
  workspace_id integer not null,
  team_id bigint,
  type text not null,
  subject text,
  body text,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (schema_name, id)
);
create sequence if not exists duly_compat.message_numbers;

-- The name that an application calls a template by, where it is no name for one of Duly's.
create table if not exists duly_compat.template_name (
  id uuid not null,          -- of its first version
  workspace_id integer not null,
  name text not null,
  primary key (id, workspace_id)
);

-- What a foreign sender has sent in an hour, and may.
create table if not exists duly_compat.slot (
  workspace_id integer not null,
  time_slot timestamptz not null,
  messages_sent integer not null default 0,
  most integer check (most >= 0),
  primary key (workspace_id, time_slot)
);

-- Who is erased is no user of an application's either; and what retention removes has no entry any more.
create or replace function duly_compat.erased() returns trigger
language plpgsql security definer set search_path = duly, pg_temp
as $$
begin
  update duly_compat.entry e set user_id = null, contact_id = null, recipient_type = null, recipient_id = null
  where e.workspace_id = new.workspace_id
    and e.delivery_id in (select duly.deliveries_to(new.workspace_id, new.address_keys));
  return null;
end $$;
create or replace trigger compat_erased after insert on duly.erasure for each row execute function duly_compat.erased();

create or replace function duly_compat.removed() returns trigger
language plpgsql security definer set search_path = duly, pg_temp
as $$
begin
  delete from duly_compat.entry e using gone g where e.delivery_id = g.id and e.workspace_id = g.workspace_id;
  return null;
end $$;
create or replace trigger compat_removed after delete on duly.delivery_row referencing old table as gone
  for each statement execute function duly_compat.removed();

-- Whether a key is among this share of all, the same for a key each time and for every larger share: for moving
-- traffic over little by little.
create or replace function duly_compat.among(key text, percent numeric) returns boolean
language sql immutable parallel safe
as $$
  select ('x' || left(encode(sha256(convert_to(key, 'UTF8')), 'hex'), 8))::bit(32)::bigint < percent / 100 * 4294967296
$$;

-- A text as a UUID, or null where it is none.
create or replace function duly_compat.as_uuid(word text) returns uuid
language sql immutable parallel safe
as $$
  select case when word ~* '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$' then word::uuid end
$$;

-- The workspaces whose rows an installed file shows to the caller: the one that `set duly.workspace = '…'` names,
-- else its own and its teams'; of these, those that the caller may see.
create or replace function duly_compat.readable(schema name, part text) returns integer[]
language sql stable security definer set search_path = duly, pg_temp
as $$
  select array(
    select w.id from duly.workspace w
    where w.id in (select duly.visible_workspaces())
      and case when nullif(current_setting('duly.workspace', true), '') is not null
               then w.name = current_setting('duly.workspace', true)
               else w.id in (
                 select i.workspace_id from duly_compat.installed i
                 where i.schema_name = readable.schema and i.part = readable.part
                 union all
                 select t.workspace_id from duly_compat.team t
                 where t.schema_name = readable.schema and readable.part = 'prasso') end)
$$;

-- How a file was installed. Raises 55000 where it was not.
create or replace function duly_compat.installation(schema name, part text) returns duly_compat.installed
language plpgsql stable
as $$
#variable_conflict use_variable
declare
  found_row duly_compat.installed;
begin
  select i.* into found_row from duly_compat.installed i where i.schema_name = schema and i.part = part;
  if not found then
    raise exception '% is not installed in schema %: run duly migrate --compat', part, schema using errcode = '55000';
  end if;
  return found_row;
end $$;

-- The workspace that an installed file writes to, if the caller may. Raises 22023.
create or replace function duly_compat.target(schema name, part text) returns duly.workspace
language plpgsql stable
as $$
#variable_conflict use_variable
begin
  return duly.writable_workspace(coalesce(
    nullif(current_setting('duly.workspace', true), ''),
    (select w.name from duly.workspace w where w.id = (duly_compat.installation(schema, part)).workspace_id)));
end $$;

-- Raises 42501 where the caller may see a row's workspace but not write to it.
create or replace function duly_compat.check_writable(workspace integer) returns void
language plpgsql stable
as $$
begin
  if not workspace in (select duly.writable_workspaces()) then
    raise exception 'workspace: % may not write to it', duly.caller() using errcode = '42501';
  end if;
end $$;

-- Raises 22023 for what existing code must not write, by the columns' names.
create or replace function duly_compat.refuse_changes(before jsonb, after jsonb, columns text[], why text) returns void
language plpgsql immutable
as $$
declare
  name text;
begin
  foreach name in array columns loop
    if before -> name is distinct from after -> name then
      raise exception '%: %', name, why using errcode = '22023';
    end if;
  end loop;
end $$;

-- Queues one by duly.enqueue, and says what is wrong by the application's names: {"to": "recipient_phone", …}.
create or replace function duly_compat.queue(
  workspace duly.workspace, channel text, "to" text, body text, due_at timestamptz, priority integer, category text,
  template text, variables jsonb, metadata jsonb, names jsonb
) returns uuid
language plpgsql
as $$
#variable_conflict use_variable
declare
  word text;
begin
  return duly.enqueue(workspace.name, channel, "to", body, coalesce(due_at, now()), priority, null, category, null,
                      template, coalesce(variables, '{}'), coalesce(metadata, '{}'));
exception when invalid_parameter_value then
  word := split_part(sqlerrm, ':', 1);
  raise exception '%', case when names ? word then (names ->> word) || substr(sqlerrm, length(word) + 1) else sqlerrm end
    using errcode = '22023';
end $$;

-- What has just been queued, for RETURNING: by its key, as planning a look through the view costs ten times the insert.
create or replace function duly_compat.just_queued(
  workspace integer, delivery uuid, out body text, out skipped boolean, out problem text, out due_at timestamptz,
  out created_at timestamptz, out variables jsonb, out metadata jsonb
)
language plpgsql stable
as $$
begin
  select m.body, d.state = 'skipped', nullif(concat_ws(': ', d.reason, d.detail), ''), d.due_at, d.created_at, m.variables, m.metadata
  into body, skipped, problem, due_at, created_at, variables, metadata
  from duly.delivery_row d join duly.message m on m.id = d.message_id and m.workspace_id = d.workspace_id
  where d.id = delivery and d.workspace_id = workspace;
end $$;

-- The priorities of an application that counts upwards, as buildos does: above 5 goes first.
create or replace function duly_compat.upwards(priority integer) returns integer
language sql immutable parallel safe
as $$ select case when priority > 5 then 1 when priority < 0 then 3 else 2 end $$;

-- What stands in for the due time of what a foreign sender sends: no daemon leases what is not due. The time itself
-- is in its entry.
create or replace function duly_compat.held_until() returns timestamptz
language sql immutable parallel safe
as $$ select timestamptz '2999-01-01 00:00:00+00' $$;

-- A delivery's row, locked. Raises P0002.
create or replace function duly_compat.locked(workspace integer, delivery uuid) returns duly.delivery_row
language plpgsql
as $$
#variable_conflict use_variable
declare
  found_row duly.delivery_row;
begin
  perform duly_compat.check_writable(workspace);
  select d.* into found_row from duly.delivery_row d where d.id = delivery and d.workspace_id = workspace for update;
  if not found then
    raise exception 'id: there is no message % any more', delivery using errcode = 'P0002';
  end if;
  return found_row;
end $$;

-- Moves what still waits to another time or priority. Raises 22023, and 55000 where it is too late.
create or replace function duly_compat.move(
  workspace integer, delivery uuid, due_at timestamptz, priority integer, time_name text
) returns void
language plpgsql
as $$
#variable_conflict use_variable
declare
  d duly.delivery_row := duly_compat.locked(workspace, delivery);
  foreign_due timestamptz;
begin
  if due_at is null or due_at < '2000-01-01Z' or due_at > now() + interval '5 years' then
    raise exception '%: must be a time between the year 2000 and five years from now', time_name using errcode = '22023';
  elsif d.expires_at <= due_at then
    raise exception '%: must be before %, when the message expires', time_name, d.expires_at using errcode = '22023';
  elsif priority is null or priority not between 1 and 3 then
    raise exception 'priority: must be 1 (high), 2 (medium) or 3 (low)' using errcode = '22023';
  elsif d.state not in ('queued', 'leased') then
    raise exception '%: it is too late, the message is %; only what waits is moved', time_name, d.state using errcode = '55000';
  end if;
  if d.due_at = duly_compat.held_until() then
    update duly_compat.entry e set due_at = move.due_at
    where e.delivery_id = delivery and e.workspace_id = workspace
    returning e.due_at into foreign_due;
  else
    update duly_compat.entry e set due_at = null
    where e.delivery_id = delivery and e.workspace_id = workspace and e.due_at is not null;
  end if;
  update duly.delivery_row r
  set due_at = case when foreign_due is null then move.due_at else duly_compat.held_until() end, priority = move.priority,
      planned_for = null, state = 'queued', lease_token = null, node_id = null, state_at = now()
  where r.id = delivery and r.workspace_id = workspace;
  if foreign_due is null then
    perform duly.tell(workspace, d.channel::text, priority, due_at);
  end if;
end $$;

-- Does what a status written by the application means: a word for waiting sends a failed one again, a word for not
-- sending cancels what waits. The rest is for the sender to say. Raises 55000 where it is too late.
create or replace function duly_compat.set_status(workspace integer, delivery uuid, word text) returns void
language plpgsql
as $$
#variable_conflict use_variable
declare
  d duly.delivery_row := duly_compat.locked(workspace, delivery);
begin
  if word in ('queued', 'pending', 'scheduled') then
    if d.state in ('queued', 'leased') then
      return;
    elsif duly.replay(duly.caller(), 'status set to ' || word || ' through the compatible SQL', ids => array[delivery]) = 0 then
      raise exception 'status: the message is %; only one that has failed is sent again', d.state using errcode = '55000';
    end if;
  elsif word in ('canceled', 'cancelled', 'failed', 'skipped') then
    if d.state not in ('canceled', 'failed', 'skipped', 'expired') and not duly.cancel(delivery) then
      raise exception 'status: it is too late, the message is %; only what waits is canceled', d.state using errcode = '55000';
    end if;
  else
    raise exception 'status: % is for Duly to say, which sends the message; write canceled to stop it, or queued to send a failed one again',
      coalesce(quote_literal(left(word, 40)), 'null') using errcode = '22023';
  end if;
end $$;

-- Takes a delivery out of the application's sight; what waits is canceled. Duly's own record stays.
create or replace function duly_compat.hide(workspace integer, delivery uuid) returns void
language plpgsql
as $$
#variable_conflict use_variable
declare
  d duly.delivery_row := duly_compat.locked(workspace, delivery);
begin
  if d.state in ('queued', 'leased') then
    perform duly.cancel(delivery);
  elsif d.state in ('sending', 'uncertain') then
    raise exception 'id: the message is being sent; delete it afterwards' using errcode = '55000';
  end if;
  insert into duly_compat.entry as e (id, workspace_id, delivery_id, hidden) values (delivery, workspace, delivery, true)
  on conflict (delivery_id, workspace_id) do update set hidden = true;
end $$;

-- Which channel and address of a contact are meant: of the channel given, else the first of its own order, else sms,
-- then what else there is. Raises 22023.
create or replace function duly_compat.reached(
  workspace duly.workspace, external_id text, wanted text, field text, out channel text, out "to" text
)
language plpgsql
as $$
#variable_conflict use_column
declare
  known record;
begin
  select c.id, coalesce(p.channels, '{}') as channels into known
  from duly.contact c
  left join duly.preference p on p.contact_id = c.id and p.workspace_id = c.workspace_id
  where c.workspace_id = workspace.id and c.external_id = reached.external_id;
  if known.id is null then
    raise exception '%: % is no contact of workspace %; put it in with duly.put_contact(external_id => …)', field,
      quote_literal(left(external_id, 100)), workspace.name using errcode = '22023';
  end if;
  select a.channel, a.address into channel, "to"
  from duly.address a
  where a.contact_id = known.id and a.workspace_id = workspace.id and (wanted is null or a.channel = wanted)
  order by array_position(known.channels, a.channel) nulls last,
           array_position('{sms,whatsapp,telegram,email,push,in_app}', a.channel), a.address
  limit 1;
  if channel is null then
    raise exception '%: % has no %address in workspace %; add one with duly.put_contact', field,
      quote_literal(left(external_id, 100)), coalesce(wanted || ' ', ''), workspace.name using errcode = '22023';
  elsif "to" = '' then
    raise exception '%: the addresses of workspace % are sealed, which only the daemon opens; queue with duly.enqueue',
      field, workspace.name using errcode = '55000';
  end if;
end $$;

-- Puts a person in or changes it, with these addresses by channel; what another one was before is taken away. Raises
-- 22023 by the application's names.
create or replace function duly_compat.put_person(
  workspace duly.workspace, external_id text, name text, first_name text, time_zone text, attributes jsonb,
  addresses jsonb, before jsonb, names jsonb
) returns uuid
language plpgsql
as $$
#variable_conflict use_variable
declare
  channel text;
  address text;
  word text;
begin
  for channel, address in select b.key, b.value from jsonb_each_text(before) b where b.value is not null loop
    if addresses ->> channel is distinct from address then
      perform duly.remove_address(workspace.name, channel, address);
    end if;
  end loop;
  return duly.put_contact(
    workspace.name, external_id, coalesce(first_name, ''), coalesce(name, ''), null, coalesce(time_zone, ''), null, attributes,
    (select jsonb_agg(jsonb_build_object('channel', a.key, 'address', a.value)) from jsonb_each_text(addresses) a
     where a.value is not null));
exception when invalid_parameter_value then
  word := split_part(sqlerrm, ':', 1);
  raise exception '%', case when names ? word then (names ->> word) || substr(sqlerrm, length(word) + 1) else sqlerrm end
    using errcode = '22023';
end $$;

-- For views that are only read.
create or replace function duly_compat.refuse_write() returns trigger
language plpgsql
as $$
begin
  raise exception '%: %', tg_table_name, tg_argv[0] using errcode = '0A000';
end $$;

-- Every delivery as the application knows it: under its own id where it has one, and without what it has deleted.
create or replace view duly_compat.delivery as
select e.id, d.id as delivery_id, d.workspace_id, d.message_id, d.channel::text as channel,
       case when d.sealed is null then nullif(d."to", '') end as "to", d.address_key, d.priority, d.state, d.reason, d.detail,
       d.attempts, coalesce(e.due_at, d.planned_for, d.due_at) as due_at, d.due_at as next_at, d.provider_id, d.created_at,
       d.state_at, d.sent_at, d.delivered_at, e.schema_name, e.number, e.message_number, e.recipient_type, e.recipient_id,
       e.user_id, e.contact_id, e.priority as given_priority, e.most_attempts
from duly_compat.entry e
join duly.delivery_row d on d.id = e.delivery_id and d.workspace_id = e.workspace_id
where not e.hidden
union all
select d.id, d.id, d.workspace_id, d.message_id, d.channel::text,
       case when d.sealed is null then nullif(d."to", '') end, d.address_key, d.priority, d.state, d.reason, d.detail,
       d.attempts, coalesce(d.planned_for, d.due_at), d.due_at, d.provider_id, d.created_at,
       d.state_at, d.sent_at, d.delivered_at, null, null, null, null, null,
       null, null, null, null
from duly.delivery_row d
where not exists (select from duly_compat.entry e where e.delivery_id = d.id and e.workspace_id = d.workspace_id);

-- Every contact with an address of each channel; sealed ones are null.
create or replace view duly_compat.person as
select c.id as contact_id, c.workspace_id, c.external_id, c.first_name, c.name, c.time_zone, c.max_per_week, c.attributes,
       c.created_at, c.updated_at, a.phone, a.whatsapp, a.telegram, a.email
from duly.contact c
left join lateral (
  select min(a.address) filter (where a.channel = 'sms') as phone,
         min(a.address) filter (where a.channel = 'whatsapp') as whatsapp,
         min(a.address) filter (where a.channel = 'telegram') as telegram,
         min(a.address) filter (where a.channel = 'email') as email
  from duly.address a
  where a.contact_id = c.id and a.workspace_id = c.workspace_id and a.address <> ''
) a on true;

-- Who sends what is queued through message_queue: Duly, or a sender of the application's own that asks
-- get_messages_to_send(). What waits goes over to Duly; what a foreign sender has been handed stays its own, and what
-- Duly has stays Duly's. Returns how many have changed hands. For the operator.
create or replace function duly_compat.set_sender(schema name, sender text) returns bigint
language plpgsql security definer set search_path = duly, pg_temp
as $$
#variable_conflict use_variable
declare
  present duly_compat.installed := duly_compat.installation(schema, 'rundown');
  handed bigint := 0;
begin
  if not pg_has_role(duly.caller(), 'duly_daemon', 'usage') then
    raise exception 'sender: who sends is the operator''s to say' using errcode = '42501';
  elsif sender is null or sender not in ('duly', 'foreign') then
    raise exception 'sender: % is none of duly, foreign', coalesce(quote_literal(left(sender, 40)), 'null') using errcode = '22023';
  elsif sender = 'foreign' and (select w.seal from duly.workspace w where w.id = present.workspace_id) then
    raise exception 'sender: the texts of this workspace are sealed, which only Duly opens' using errcode = '22023';
  end if;
  update duly_compat.installed i set sender = set_sender.sender where i.schema_name = schema and i.part = 'rundown';
  if sender = 'duly' then
    with theirs as (
      select d.id, d.workspace_id, d.state, e.due_at from duly_compat.entry e
      join duly.delivery_row d on d.id = e.delivery_id and d.workspace_id = e.workspace_id
      where e.workspace_id = present.workspace_id and e.due_at is not null and d.due_at = duly_compat.held_until()
      for update of d
    ), freed as (
      -- What was handed out is still theirs to answer; should a person send it again, Duly does.
      update duly_compat.entry e set due_at = null from theirs t
      where e.delivery_id = t.id and e.workspace_id = t.workspace_id and t.state not in ('sending', 'uncertain')
    ), moved as (
      update duly.delivery_row d set due_at = t.due_at from theirs t where d.id = t.id and d.workspace_id = t.workspace_id
      returning d.state
    )
    select count(*) filter (where m.state = 'queued') into handed from moved m;
    perform pg_notify('duly', 'look');
  end if;
  return handed;
end $$;

-- Says which workspace a team of the application is. For the operator.
create or replace function duly_compat.put_team(schema name, team_id bigint, workspace text) returns void
language plpgsql security definer set search_path = duly, pg_temp
as $$
#variable_conflict use_variable
declare
  present duly_compat.installed := duly_compat.installation(schema, 'prasso');
begin
  if not pg_has_role(duly.caller(), 'duly_daemon', 'usage') then
    raise exception 'team_id: which workspace a team is, is the operator''s to say' using errcode = '42501';
  elsif team_id is null then
    raise exception 'team_id: is missing' using errcode = '22023';
  end if;
  insert into duly_compat.team as t (schema_name, team_id, workspace_id)
  values (schema, team_id, (duly.writable_workspace(workspace)).id)
  on conflict on constraint team_pkey do update set workspace_id = excluded.workspace_id;
end $$;

-- Notes that a file stands in a schema, or stands there with other settings. Raises 22023 where it stands there for
-- another workspace: what is queued would be out of sight.
create or replace function duly_compat.put_installation(schema name, part text, workspace text, category text) returns void
language plpgsql
as $$
#variable_conflict use_variable
declare
  found_workspace duly.workspace := duly.writable_workspace(workspace);
  other text;
begin
  if category is not null and (category !~ '^[a-z][a-z0-9_]{0,39}$' or duly.category_problem(category) is not null) then
    raise exception 'category: must be 1 to 40 small letters, digits and underscores, such as transactional' using errcode = '22023';
  end if;
  select w.name into other from duly_compat.installed i join duly.workspace w on w.id = i.workspace_id
  where i.schema_name = schema and i.part = part and i.workspace_id <> found_workspace.id;
  if other is not null then
    raise exception 'workspace: % stands in schema % for workspace %; take it away first (--remove), or use another schema', part,
      schema, other using errcode = '22023';
  end if;
  insert into duly_compat.installed as i (schema_name, part, workspace_id, category)
  values (schema, part, found_workspace.id, coalesce(category, case part when 'rundown' then 'accountability' else 'transactional' end))
  on conflict on constraint installed_pkey do update set category = coalesce(put_installation.category, i.category);
end $$;

-- Takes a file away: its views, functions and schemas, which are known by their comments. What they showed stays, and
-- is shown again when it is put back. Returns how many objects went. Raises 55000 while a foreign sender has messages.
create or replace function duly_compat.take_away(schema name, part text) returns integer
language plpgsql
as $$
#variable_conflict use_variable
declare
  present duly_compat.installed := duly_compat.installation(schema, part);
  mark text := 'Duly: compatible SQL, ' || part;
  statement text;
  gone integer := 0;
begin
  if part = 'rundown' and exists (
    select from duly_compat.entry e join duly.delivery_row d on d.id = e.delivery_id and d.workspace_id = e.workspace_id
    where e.workspace_id = present.workspace_id and e.due_at is not null and d.state in ('queued', 'sending')) then
    raise exception 'schema: messages wait for the foreign sender of %; hand them to Duly first: --sender duly', schema
      using errcode = '55000';
  end if;
  delete from duly_compat.installed i where i.schema_name = schema and i.part = part;
  if part = 'prasso' then
    delete from duly_compat.team t where t.schema_name = schema;
  end if;
  for statement in
    select format('drop function %s', p.oid::regprocedure) from pg_proc p join pg_namespace n on n.oid = p.pronamespace
    where n.nspname = schema and obj_description(p.oid, 'pg_proc') = mark
    union all
    select format('drop view %I.%I', n.nspname, c.relname) from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = schema and c.relkind = 'v' and obj_description(c.oid, 'pg_class') = mark
    union all
    select format('drop schema %I cascade', n.nspname) from pg_namespace n
    where obj_description(n.oid, 'pg_namespace') = mark
      and not exists (select from duly_compat.installed i where i.part = take_away.part)
  loop
    execute statement;
    gone := gone + 1;
  end loop;
  return gone;
end $$;

revoke all on all tables in schema duly_compat from public, duly_daemon, duly_producer, duly_reader;
revoke all on all functions in schema duly_compat from public;
-- The views ask these in the reader's name.
grant execute on function duly_compat.readable(name, text), duly_compat.as_uuid(text) to duly_daemon, duly_producer, duly_reader;
grant execute on function duly_compat.among(text, numeric) to duly_daemon, duly_producer;
grant execute on function duly_compat.set_sender(name, text), duly_compat.put_team(name, bigint, text) to duly_daemon;
