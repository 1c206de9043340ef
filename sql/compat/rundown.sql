-- Rundown: message_queue, message_rate_limits, notification_preferences, users, contacts and messages over Duly's
-- tables, and its three functions. After base.sql, with a schema: `duly migrate --compat rundown --schema NAME`, or
-- psql -v schema=NAME. Each part that begins with `-- @` can be left out.

-- users and contacts: people, by their ids as Duly's external ids. A contact is one with a user whose it is.
create or replace function duly_compat.users_write() returns trigger
language plpgsql security definer set search_path = duly, pg_temp
as $$
declare
  workspace duly.workspace := duly_compat.target(tg_table_schema, 'rundown');
  friend boolean := tg_table_name = 'contacts';
  attributes jsonb;
begin
  if tg_op = 'DELETE' then
    raise exception '%: a person is removed with duly.erase, which says why and keeps who must not be written to', tg_table_name
      using errcode = '0A000';
  elsif new.id is null then
    raise exception 'id: is missing; give a UUID' using errcode = '22023';
  elsif tg_op = 'UPDATE' and new.id <> old.id then
    raise exception 'id: is not changed' using errcode = '22023';
  elsif tg_op = 'INSERT' and exists (
    select from duly.contact c where c.workspace_id = workspace.id and c.external_id = new.id::text) then
    raise exception 'id: there is a % % already', case when friend then 'contact' else 'user' end, new.id using errcode = '23505';
  end if;
  if friend then
    if new.user_id is null then
      raise exception 'user_id: is missing; say whose contact this is' using errcode = '22023';
    end if;
    attributes := jsonb_build_object('user_id', new.user_id, 'relationship', new.relationship);
  end if;
  perform duly_compat.put_person(
    workspace, new.id::text, new.name, null,
    case when tg_op = 'INSERT' or new.timezone is distinct from old.timezone then new.timezone
         else (select c.time_zone from duly.contact c where c.workspace_id = workspace.id and c.external_id = new.id::text) end,
    attributes, jsonb_build_object('email', new.email, 'sms', new.phone),
    case when tg_op = 'UPDATE' then jsonb_build_object('email', old.email, 'sms', old.phone) end,
    '{"addresses.sms": "phone", "addresses.email": "email", "time_zone": "timezone"}');
  if not friend then
    if tg_op = 'INSERT' and new.message_style is not null or tg_op = 'UPDATE' and new.message_style is distinct from old.message_style then
      perform duly_compat.put_style(workspace, new.id, new.message_style);
    end if;
  end if;
  execute format('select v.* from %I.%I v where v.id = $1', tg_table_schema, tg_table_name) into new using new.id;
  return new;
end $$;

-- A person's style: with the preferences, and before there are any with the person, as preferences say that somebody
-- wants to be written to.
create or replace function duly_compat.put_style(workspace duly.workspace, user_id uuid, style text) returns void
language plpgsql
as $$
#variable_conflict use_variable
begin
  if style is null or style !~ '^[a-z0-9_-]{1,40}$' then
    raise exception 'message_style: must be 1 to 40 small letters, digits, dashes and underscores, such as supportive'
      using errcode = '22023';
  end if;
  perform duly.put_contact(workspace.name, user_id::text, attributes => jsonb_build_object('message_style', style));
  update duly.preference p set style = put_style.style, updated_at = now()
  from duly.contact c
  where c.workspace_id = workspace.id and c.external_id = user_id::text and p.contact_id = c.id
    and p.workspace_id = c.workspace_id;
end $$;

create or replace function duly_compat.notification_preferences_write() returns trigger
language plpgsql security definer set search_path = duly, pg_temp
as $$
declare
  workspace duly.workspace := duly_compat.target(tg_table_schema, 'rundown');
  days constant text[] := '{monday,tuesday,wednesday,thursday,friday,saturday,sunday}';
  contact uuid;
  problem text;
begin
  if tg_op = 'DELETE' then
    delete from duly.preference p using duly.contact c
    where c.workspace_id = workspace.id and c.external_id = old.user_id::text
      and p.contact_id = c.id and p.workspace_id = c.workspace_id;
    return case when found then old end;
  end if;
  problem := case
    when new.user_id is null then 'user_id: is missing'
    when tg_op = 'UPDATE' and new.user_id <> old.user_id then 'user_id: is not changed; insert another'
    when array_position(days, lower(new.send_day)) is null then
      format('send_day: %s is no day of the week such as Sunday', coalesce(quote_literal(left(new.send_day, 40)), 'null'))
    when new.send_time is null or new.send_time = '24:00' then 'send_time: must be a time of the day such as 18:00'
    when new.enabled is null then 'enabled: must be true or false'
    when new.send_if_goal_met is null then 'send_if_goal_met: must be true or false'
    when new.send_if_partial_goal is null then 'send_if_partial_goal: must be true or false'
    when new.max_messages_per_week not between 0 and 1000 then 'max_messages_per_week: must be from 0 to 1000, or null for no limit'
  end;
  if problem is not null then
    raise exception '%', problem using errcode = '22023';
  end if;
  begin
    contact := duly.put_contact(workspace.name, new.user_id::text, time_zone => case
      when tg_op = 'INSERT' or new.timezone is distinct from old.timezone then new.timezone end);
  exception when invalid_parameter_value then
    raise exception '%', replace(sqlerrm, 'time_zone:', 'timezone:') using errcode = '22023';
  end;
  update duly.contact c set max_per_week = new.max_messages_per_week, updated_at = now()
  where c.id = contact and c.workspace_id = workspace.id and c.max_per_week is distinct from new.max_messages_per_week;
  if tg_op = 'INSERT' then
    if exists (select from duly.preference p where p.contact_id = contact and p.workspace_id = workspace.id) then
      raise exception 'user_id: % has preferences already; update them', new.user_id using errcode = '23505';
    end if;
    insert into duly.preference (contact_id, workspace_id, style)
    select c.id, c.workspace_id, coalesce(c.attributes ->> 'message_style', 'supportive') from duly.contact c
    where c.id = contact and c.workspace_id = workspace.id;
  end if;
  update duly.preference p
  set enabled = new.enabled, send_day = array_position(days, lower(new.send_day)), send_time = new.send_time,
      on_goal_met = new.send_if_goal_met, on_partial_goal = new.send_if_partial_goal, updated_at = now()
  where p.contact_id = contact and p.workspace_id = workspace.id;
  if new.message_style is not null then
    perform duly_compat.put_style(workspace, new.user_id, new.message_style);
  end if;
  execute format('select v.* from %I.%I v where v.user_id = $1', tg_table_schema, tg_table_name) into new using new.user_id;
  return new;
end $$;

-- Queues one of Rundown's: to the contact, else to the user. Where a sender of its own sends, no daemon will.
create or replace function duly_compat.queue_rundown(
  schema name, id uuid, user_id uuid, contact_id uuid, message_text text, scheduled_for timestamptz, priority integer,
  max_attempts integer
) returns uuid
language plpgsql
as $$
#variable_conflict use_variable
declare
  installed duly_compat.installed := duly_compat.installation(schema, 'rundown');
  workspace duly.workspace := duly_compat.target(schema, 'rundown');
  held boolean := installed.sender = 'foreign' and workspace.id = installed.workspace_id;
  due timestamptz := coalesce(scheduled_for, now());
  address record;
  delivery uuid;
begin
  if coalesce(contact_id, user_id) is null then
    raise exception 'contact_id: is missing; give it, or user_id to write to the user' using errcode = '22023';
  elsif max_attempts is null or max_attempts not between 1 and 100 then
    raise exception 'max_attempts: must be from 1 to 100' using errcode = '22023';
  elsif due < '2000-01-01Z' then
    raise exception 'scheduled_for: must be a time between the year 2000 and five years from now' using errcode = '22023';
  elsif held and workspace.seal then
    raise exception 'sender: the texts of workspace % are sealed, which only Duly opens; let Duly send (duly_compat.set_sender)',
      workspace.name using errcode = '55000';
  end if;
  address := duly_compat.reached(workspace, coalesce(contact_id, user_id)::text, null,
                                 case when contact_id is null then 'user_id' else 'contact_id' end);
  -- What is held is queued for later first, so that no daemon is told of it.
  delivery := duly_compat.queue(
    workspace, address.channel, address."to", message_text,
    case when held then greatest(due, now() + interval '1 minute') else due end, priority,
    case when installed.category = 'accountability' and priority = 2 then 'congratulatory' else installed.category end,
    null, null, null, '{"body": "message_text", "due_at": "scheduled_for"}');
  insert into duly_compat.entry (id, workspace_id, delivery_id, user_id, contact_id, priority, most_attempts, due_at)
  values (coalesce(id, delivery), workspace.id, delivery, user_id, contact_id, priority, max_attempts,
          case when held then due end);
  if held then
    update duly.delivery_row d set due_at = duly_compat.held_until()
    where d.id = delivery and d.workspace_id = workspace.id and d.state = 'queued';
  end if;
  return coalesce(id, delivery);
end $$;

create or replace function duly_compat.message_queue_write() returns trigger
language plpgsql security definer set search_path = duly, pg_temp
as $$
declare
  entry record;
  queued record;
begin
  if tg_op = 'INSERT' then
    if new.status is distinct from 'queued' then
      raise exception 'status: % says what has been; what is put in is queued', coalesce(quote_literal(left(new.status, 40)), 'null')
        using errcode = '22023', hint = 'Move over what waits, and keep the old table for what was sent.';
    elsif coalesce(new.attempts, 0) <> 0 then
      raise exception 'attempts: Duly counts them; put it in with 0' using errcode = '22023';
    end if;
    new.id := duly_compat.queue_rundown(
      tg_table_schema, new.id, new.user_id, new.contact_id, new.message_text, new.scheduled_for, new.priority, new.max_attempts);
    select q.* into queued from duly_compat.entry e
    cross join lateral duly_compat.just_queued(e.workspace_id, e.delivery_id) q
    where e.id = new.id and e.workspace_id = (duly_compat.target(tg_table_schema, 'rundown')).id;
    new.contact_id := coalesce(new.contact_id, new.user_id);
    new.scheduled_for := coalesce(new.scheduled_for, queued.created_at);
    new.message_text := queued.body;
    new.status := case when queued.skipped then 'failed' else 'queued' end;
    new.error_message := queued.problem;
    new.attempts := 0;
    new.created_at := queued.created_at;
    new.updated_at := queued.created_at;
    new.sent_at := null;
    return new;
  end if;
  select e.delivery_id, e.workspace_id into entry from duly_compat.delivery e
  where e.id = old.id and e.workspace_id = any (duly_compat.readable(tg_table_schema, 'rundown'));
  if tg_op = 'DELETE' then
    perform duly_compat.hide(entry.workspace_id, entry.delivery_id);
    return old;
  end if;
  perform duly_compat.refuse_changes(
    to_jsonb(old), to_jsonb(new), '{id,user_id,contact_id,message_text,created_at}',
    'of what is queued it is not changed; delete the row and insert another');
  perform duly_compat.refuse_changes(
    to_jsonb(old), to_jsonb(new), '{attempts,sent_at,error_message}', 'Duly writes it; a foreign sender calls update_message_status()');
  if new.max_attempts is distinct from old.max_attempts then
    perform duly_compat.check_writable(entry.workspace_id);
    if new.max_attempts is null or new.max_attempts not between 1 and 100 then
      raise exception 'max_attempts: must be from 1 to 100' using errcode = '22023';
    end if;
    insert into duly_compat.entry as e (id, workspace_id, delivery_id, most_attempts)
    values (entry.delivery_id, entry.workspace_id, entry.delivery_id, new.max_attempts)
    on conflict (delivery_id, workspace_id) do update set most_attempts = excluded.most_attempts;
  end if;
  if new.status is distinct from old.status then
    perform duly_compat.update_message_status(tg_table_schema, old.id, new.status, null);
  end if;
  if (new.scheduled_for, new.priority) is distinct from (old.scheduled_for, old.priority) then
    perform duly_compat.move(entry.workspace_id, entry.delivery_id, new.scheduled_for, new.priority, 'scheduled_for');
  end if;
  execute format('select v.* from %I.message_queue v where v.id = $1', tg_table_schema) into new using old.id;
  return new;
end $$;

-- A foreign sender's own log of what it has sent stands here already, by update_message_status().
create or replace function duly_compat.messages_write() returns trigger
language plpgsql security definer set search_path = duly, pg_temp
as $$
begin
  perform duly_compat.target(tg_table_schema, 'rundown');
  if tg_op = 'INSERT' and (duly_compat.installation(tg_table_schema, 'rundown')).sender = 'foreign' then
    return null;
  end if;
  raise exception 'messages: shows what was sent; write to message_queue' using errcode = '0A000';
end $$;

create or replace function duly_compat.message_rate_limits_write() returns trigger
language plpgsql security definer set search_path = duly, pg_temp
as $$
declare
  workspace duly.workspace := duly_compat.target(tg_table_schema, 'rundown');
begin
  if (duly_compat.installation(tg_table_schema, 'rundown')).sender = 'duly' then
    raise exception 'message_rate_limits: Duly is the sender; its limits are [limits] and the accounts'' in its TOML'
      using errcode = '55000';
  elsif tg_op = 'DELETE' then
    update duly_compat.slot s set most = null
    where s.workspace_id = workspace.id and s.time_slot = date_trunc('hour', old.time_slot, 'UTC');
    return old;
  elsif new.time_slot is null or not isfinite(new.time_slot) then
    raise exception 'time_slot: must be the beginning of an hour' using errcode = '22023';
  elsif new.max_messages_per_slot is null or new.max_messages_per_slot < 0 then
    raise exception 'max_messages_per_slot: must be 0 or more' using errcode = '22023';
  elsif new.messages_sent is distinct from (case tg_op when 'INSERT' then 0 else old.messages_sent end) then
    raise exception 'messages_sent: is counted by update_message_status()' using errcode = '22023';
  elsif tg_op = 'UPDATE' and new.time_slot <> old.time_slot then
    raise exception 'time_slot: is not changed; insert another' using errcode = '22023';
  end if;
  new.time_slot := date_trunc('hour', new.time_slot, 'UTC');
  insert into duly_compat.slot as s (workspace_id, time_slot, most) values (workspace.id, new.time_slot, new.max_messages_per_slot)
  on conflict (workspace_id, time_slot) do update set most = excluded.most;
  return new;
end $$;

-- Without a time: at the user's next send day and time, on their own wall clock.
create or replace function duly_compat.schedule_accountability_message(
  schema name, user_id uuid, contact_id uuid, message_text text, scheduled_for timestamptz, priority integer
) returns uuid
language plpgsql security definer set search_path = duly, pg_temp
as $$
#variable_conflict use_variable
declare
  workspace duly.workspace := duly_compat.target(schema, 'rundown');
  day integer;
  clock time;
  zone text;
  local timestamp;
begin
  if user_id is null then
    raise exception 'p_user_id: is missing' using errcode = '22023';
  elsif scheduled_for is null then
    select p.send_day, p.send_time, c.time_zone into day, clock, zone
    from duly.contact c left join duly.preference p on p.contact_id = c.id and p.workspace_id = c.workspace_id
    where c.workspace_id = workspace.id and c.external_id = user_id::text;
    zone := coalesce(zone, 'UTC');
    local := date_trunc('day', now() at time zone zone);
    local := local + make_interval(days => (coalesce(day, 7) - extract(isodow from local)::integer + 7) % 7)
      + coalesce(clock, time '18:00');
    scheduled_for := local at time zone zone;
    if scheduled_for <= now() then
      scheduled_for := (local + interval '7 days') at time zone zone;
    end if;
  end if;
  return duly_compat.queue_rundown(schema, null, user_id, contact_id, message_text, scheduled_for, priority, 3);
end $$;

-- Hands due messages to a foreign sender, each to one caller and once: by the time it is answered they are `sending`.
-- Where Duly sends, nothing. Duly's rules are asked as they are before a call of its own: what must wait waits, what
-- must not go is skipped. What was handed out and not answered for 15 minutes is uncertain, for a person to decide on.
create or replace function duly_compat.get_messages_to_send(schema name, batch_size integer, max_per_time_slot integer)
returns table (
  message_id uuid, user_id uuid, contact_id uuid, email text, phone text, message_text text, scheduled_for timestamptz,
  priority integer
)
language plpgsql security definer set search_path = duly, pg_temp
as $$
#variable_conflict use_column
declare
  workspace duly.workspace := duly_compat.target(schema, 'rundown');
  installed duly_compat.installed := duly_compat.installation(schema, 'rundown');
  slot duly_compat.slot;
  room integer;
  due record;
  answer jsonb;
begin
  if batch_size is null or batch_size not between 1 and 1000 then
    raise exception 'batch_size: must be from 1 to 1000' using errcode = '22023';
  elsif max_per_time_slot is null or max_per_time_slot < 0 then
    raise exception 'max_per_time_slot: must be 0 or more' using errcode = '22023';
  end if;
  update duly.delivery_row d
  set state = 'uncertain', reason = 'timed_out', ask_at = null, node_id = null, state_at = now(),
      detail = 'handed to a foreign sender, which has not said what became of it'
  where d.workspace_id = workspace.id and d.node_id = 0 and d.state = 'sending' and d.state_at < now() - interval '15 minutes';
  if installed.sender <> 'foreign' or workspace.id <> installed.workspace_id then
    return;
  end if;
  -- Whoever holds the hour's row is the only one who hands out.
  insert into duly_compat.slot (workspace_id, time_slot) values (workspace.id, date_trunc('hour', now(), 'UTC'))
  on conflict (workspace_id, time_slot) do nothing;
  select s.* into slot from duly_compat.slot s
  where s.workspace_id = workspace.id and s.time_slot = date_trunc('hour', now(), 'UTC') for update;
  room := least(batch_size, coalesce(slot.most, max_per_time_slot) - slot.messages_sent - (
    select count(*) from duly.delivery_row d
    where d.workspace_id = workspace.id and d.node_id = 0 and d.state = 'sending'));

  for due in
    select e.id, e.delivery_id, e.user_id, e.contact_id, e.due_at, d.channel::text as channel, d."to", d.address_key, d.priority,
           m.body, m.category
    from duly_compat.entry e
    join duly.delivery_row d on d.id = e.delivery_id and d.workspace_id = e.workspace_id
    join duly.message m on m.id = d.message_id and m.workspace_id = d.workspace_id
    where e.workspace_id = workspace.id and e.due_at <= now() and d.state = 'queued' and d.due_at = duly_compat.held_until()
      and d.sealed is null
      and not exists (
        select from duly.contact c join duly.preference p on p.contact_id = c.id and p.workspace_id = c.workspace_id
        where c.workspace_id = workspace.id and c.external_id = e.user_id::text and not p.enabled)
    order by d.priority, e.due_at, e.id
    limit greatest(room, 0) * 10
    for update of d skip locked
  loop
    exit when room <= 0;
    answer := duly.simulate(workspace.name, due.channel, due."to", due.category);
    if answer ->> 'outcome' = 'wait' then
      update duly_compat.entry e set due_at = coalesce((answer ->> 'until')::timestamptz, now() + interval '1 hour')
      where e.delivery_id = due.delivery_id and e.workspace_id = workspace.id;
    elsif answer ->> 'outcome' = 'skip' then
      update duly.delivery_row d
      set state = 'skipped', reason = answer ->> 'reason', detail = 'found when a foreign sender asked for it', state_at = now()
      where d.id = due.delivery_id and d.workspace_id = workspace.id;
    else
      update duly.delivery_row d
      set state = 'sending', attempts = d.attempts + 1, node_id = 0, sending_at = now(), state_at = now(), reason = null, detail = null
      where d.id = due.delivery_id and d.workspace_id = workspace.id;
      perform duly_compat.count_for_caps(workspace, due.category, due.address_key, due.delivery_id);
      room := room - 1;
      message_id := due.id;
      user_id := due.user_id;
      contact_id := due.contact_id;
      email := case when due.channel = 'email' then due."to" end;
      phone := case when due.channel <> 'email' then due."to" end;
      message_text := due.body;
      scheduled_for := due.due_at;
      priority := due.priority;
      return next;
    end if;
  end loop;
end $$;

-- Notes what a foreign sender is about to send with the caps of its category, as the mark does for Duly's own calls.
create or replace function duly_compat.count_for_caps(workspace duly.workspace, category text, key uuid, delivery uuid)
returns void
language sql
as $$
  insert into duly.cap_use as u (address_key, workspace_id, cap, at, by)
  select key, workspace.id, c.cap, array[clock_timestamp()], array[delivery]
  from (
    select c.value ->> 'cap' as cap
    from (select s.rules from duly.rule_set s where s.workspace in (workspace.name, '') order by s.workspace desc limit 1) r
    cross join lateral jsonb_array_elements(coalesce(r.rules -> 'categories' -> category, r.rules -> 'categories' -> '') -> 'caps') c
    union
    select 'per_week'
    from (select s.rules from duly.rule_set s where s.workspace in (workspace.name, '') order by s.workspace desc limit 1) r
    where (coalesce(r.rules -> 'categories' -> category, r.rules -> 'categories' -> '') ->> 'per_week')::boolean
  ) c
  on conflict (address_key, workspace_id, cap) do update set at = u.at || excluded.at, by = u.by || excluded.by
  where not u.by @> excluded.by
$$;

-- Puts what a foreign sender has not sent back to wait, `uncounted` attempts fewer: for that sender, or for Duly where
-- it sends by now.
create or replace function duly_compat.wait_again(d duly.delivery_row, held boolean, at timestamptz, uncounted integer) returns void
language plpgsql
as $$
begin
  update duly.delivery_row r
  set state = 'queued', due_at = case when held then duly_compat.held_until() else wait_again.at end,
      attempts = greatest(r.attempts - uncounted, 0), node_id = null, ask_at = null, state_at = now()
  where r.id = d.id and r.workspace_id = d.workspace_id;
  update duly_compat.entry e set due_at = case when held then wait_again.at end
  where e.delivery_id = d.id and e.workspace_id = d.workspace_id;
end $$;

-- What a foreign sender says of what it was handed; for all else what duly_compat.set_status makes of the word. `sent`
-- counts in the hour's slot. `failed` goes back to wait 2, 4, 8 … minutes until max_attempts. Said again, it changes
-- nothing. True; raises P0002 for what is not there, 55000 for what cannot be.
create or replace function duly_compat.update_message_status(schema name, id uuid, status text, error_message text)
returns boolean
language plpgsql security definer set search_path = duly, pg_temp
as $$
#variable_conflict use_variable
declare
  entry record;
  d duly.delivery_row;
  held boolean := (duly_compat.installation(schema, 'rundown')).sender = 'foreign'; -- else what waits again is Duly's
  foreign_one boolean;
  again boolean;
begin
  select e.delivery_id, e.workspace_id, coalesce(e.most_attempts, 3) as most, e.due_at into entry from duly_compat.delivery e
  where e.id = id and e.workspace_id = any (duly_compat.readable(schema, 'rundown'));
  if entry.delivery_id is null then
    raise exception 'id: there is no message %', id using errcode = 'P0002';
  end if;
  d := duly_compat.locked(entry.workspace_id, entry.delivery_id);
  foreign_one := exists (select from duly_compat.entry e
                     where e.delivery_id = d.id and e.workspace_id = d.workspace_id and e.due_at is not null);
  if foreign_one and d.state = 'queued' and status in ('processing', 'sent') then
    raise exception 'status: the message waits; get_messages_to_send() hands it out, to one sender and once' using errcode = '55000';
  elsif not foreign_one or d.state not in ('sending', 'uncertain') or status is null
        or status not in ('queued', 'processing', 'sent', 'failed') then
    if foreign_one and (status = 'sent' and d.state = 'sent' or status = 'failed' and d.reason is not null and d.state = 'queued') then
      return true;
    end if;
    perform duly_compat.set_status(d.workspace_id, d.id, status);
    return true;
  elsif status = 'processing' then
    return true;
  elsif status = 'queued' then -- it was not sent
    perform duly_compat.wait_again(d, held, now(), 1);
    return true;
  end if;
  insert into duly.attempt
    (delivery_id, lease_token, workspace_id, number, account, address_key, outcome, reason, detail, began_at, took_ms)
  values (d.id, -d.attempts, d.workspace_id, d.attempts, 'foreign', d.address_key,
          case status when 'sent' then 'accepted' else 'rejected' end, case status when 'failed' then 'rejected' end,
          left(error_message, 1000), coalesce(d.sending_at, now()),
          least(extract(epoch from now() - coalesce(d.sending_at, now())) * 1000, 2147483647)::integer)
  on conflict do nothing;
  again := status = 'failed' and d.attempts - d.forgiven < entry.most;
  if again then
    perform duly_compat.wait_again(d, held, now() + make_interval(mins => (2 ^ least(d.attempts - d.forgiven, 10))::integer), 0);
  end if;
  update duly.delivery_row r
  set state = (case when status = 'sent' then 'sent' when again then 'queued' else 'failed' end)::duly.state,
      reason = case when status = 'failed' then case when again then 'rejected' else 'attempts_exhausted' end end,
      detail = left(error_message, 1000), sent_at = case status when 'sent' then now() end,
      due_at = case when again then r.due_at when status = 'failed' and held then duly_compat.held_until() else entry.due_at end,
      node_id = null, ask_at = null, state_at = now()
  where r.id = d.id and r.workspace_id = d.workspace_id;
  if status = 'sent' then
    insert into duly_compat.slot as s (workspace_id, time_slot, messages_sent)
    values (d.workspace_id, date_trunc('hour', now(), 'UTC'), 1)
    on conflict (workspace_id, time_slot) do update set messages_sent = s.messages_sent + 1;
  end if;
  return true;
end $$;

revoke all on all functions in schema duly_compat from public;
grant execute on function
  duly_compat.schedule_accountability_message(name, uuid, uuid, text, timestamptz, integer),
  duly_compat.get_messages_to_send(name, integer, integer),
  duly_compat.update_message_status(name, uuid, text, text)
  to duly_daemon, duly_producer;

-- @view users
create or replace view :"schema".users with (security_barrier) as
select duly_compat.as_uuid(p.external_id) as id, p.email, p.phone, p.name, coalesce(f.style, p.attributes ->> 'message_style', 'supportive') as message_style,
       coalesce(p.time_zone, 'UTC') as timezone, p.created_at, p.updated_at
from duly_compat.person p
left join duly.preference f on f.contact_id = p.contact_id and f.workspace_id = p.workspace_id
where p.workspace_id = any (array(select unnest(duly_compat.readable(:'schema', 'rundown'))))
  and duly_compat.as_uuid(p.external_id) is not null and not p.attributes ? 'user_id';
alter view :"schema".users alter column id set default gen_random_uuid();
comment on view :"schema".users is 'Duly: compatible SQL, rundown';
create or replace trigger compat instead of insert or update or delete on :"schema".users
  for each row execute function duly_compat.users_write();
grant select, insert, update, delete on :"schema".users to duly_daemon, duly_producer;
grant select on :"schema".users to duly_reader;

-- @view contacts
create or replace view :"schema".contacts with (security_barrier) as
select duly_compat.as_uuid(p.external_id) as id, duly_compat.as_uuid(p.attributes ->> 'user_id') as user_id, p.name, p.email,
       p.phone, p.attributes ->> 'relationship' as relationship, coalesce(p.time_zone, 'UTC') as timezone, p.created_at,
       p.updated_at
from duly_compat.person p
where p.workspace_id = any (array(select unnest(duly_compat.readable(:'schema', 'rundown'))))
  and duly_compat.as_uuid(p.external_id) is not null and p.attributes ? 'user_id';
alter view :"schema".contacts alter column id set default gen_random_uuid();
comment on view :"schema".contacts is 'Duly: compatible SQL, rundown';
create or replace trigger compat instead of insert or update or delete on :"schema".contacts
  for each row execute function duly_compat.users_write();
grant select, insert, update, delete on :"schema".contacts to duly_daemon, duly_producer;
grant select on :"schema".contacts to duly_reader;

-- @view notification_preferences
create or replace view :"schema".notification_preferences with (security_barrier) as
select duly_compat.as_uuid(c.external_id) as user_id,
       ('{Monday,Tuesday,Wednesday,Thursday,Friday,Saturday,Sunday}'::text[])[p.send_day] as send_day, p.send_time,
       coalesce(c.time_zone, 'UTC') as timezone, p.on_goal_met as send_if_goal_met, p.on_partial_goal as send_if_partial_goal,
       c.max_per_week::integer as max_messages_per_week, p.enabled, p.style as message_style, p.updated_at
from duly.preference p
join duly.contact c on c.id = p.contact_id and c.workspace_id = p.workspace_id
where p.workspace_id = any (array(select unnest(duly_compat.readable(:'schema', 'rundown'))))
  and duly_compat.as_uuid(c.external_id) is not null;
alter view :"schema".notification_preferences alter column send_day set default 'Sunday';
alter view :"schema".notification_preferences alter column send_time set default '18:00:00';
alter view :"schema".notification_preferences alter column send_if_goal_met set default false;
alter view :"schema".notification_preferences alter column send_if_partial_goal set default true;
alter view :"schema".notification_preferences alter column max_messages_per_week set default 1;
alter view :"schema".notification_preferences alter column enabled set default true;
comment on view :"schema".notification_preferences is 'Duly: compatible SQL, rundown';
create or replace trigger compat instead of insert or update or delete on :"schema".notification_preferences
  for each row execute function duly_compat.notification_preferences_write();
grant select, insert, update, delete on :"schema".notification_preferences to duly_daemon, duly_producer;
grant select on :"schema".notification_preferences to duly_reader;

-- @view message_queue
create or replace view :"schema".message_queue with (security_barrier) as
select d.id, coalesce(d.user_id, duly_compat.as_uuid(c.attributes ->> 'user_id'), duly_compat.as_uuid(c.external_id)) as user_id,
       coalesce(d.contact_id, duly_compat.as_uuid(c.external_id)) as contact_id, d.due_at as scheduled_for,
       m.body as message_text, d.priority::integer as priority,
       case when d.state = 'queued' then 'queued'
            when d.state in ('leased', 'sending', 'uncertain') then 'processing'
            when d.state in ('sent', 'delivered', 'read') then 'sent'
            when d.state = 'canceled' then 'cancelled'
            else 'failed' end as status,
       d.attempts::integer as attempts, coalesce(d.most_attempts, 3) as max_attempts,
       case when d.state not in ('sent', 'delivered', 'read') then nullif(concat_ws(': ', d.reason, d.detail), '') end as error_message,
       d.created_at, d.state_at as updated_at, d.sent_at
from duly_compat.delivery d
join duly.message m on m.id = d.message_id and m.workspace_id = d.workspace_id
left join duly.address a
  on a.address_key = d.address_key and a.workspace_id = d.workspace_id and a.channel = d.channel
left join duly.contact c on c.id = a.contact_id and c.workspace_id = a.workspace_id
where d.workspace_id = any (array(select unnest(duly_compat.readable(:'schema', 'rundown'))));
alter view :"schema".message_queue alter column id set default gen_random_uuid();
alter view :"schema".message_queue alter column priority set default 3;
alter view :"schema".message_queue alter column status set default 'queued';
alter view :"schema".message_queue alter column attempts set default 0;
alter view :"schema".message_queue alter column max_attempts set default 3;
comment on view :"schema".message_queue is 'Duly: compatible SQL, rundown';
create or replace trigger compat instead of insert or update or delete on :"schema".message_queue
  for each row execute function duly_compat.message_queue_write();
grant select, insert, update, delete on :"schema".message_queue to duly_daemon, duly_producer;
grant select on :"schema".message_queue to duly_reader;

-- @view messages
create or replace view :"schema".messages with (security_barrier) as
select d.id, coalesce(d.user_id, duly_compat.as_uuid(c.attributes ->> 'user_id'), duly_compat.as_uuid(c.external_id)) as user_id,
       coalesce(d.contact_id, duly_compat.as_uuid(c.external_id)) as contact_id, d.sent_at,
       case when d.state in ('sent', 'delivered', 'read') then 'sent'
            when d.state in ('queued', 'leased', 'sending', 'uncertain') then 'pending'
            else 'failed' end as status,
       m.body as message_text, d.created_at
from duly_compat.delivery d
join duly.message m on m.id = d.message_id and m.workspace_id = d.workspace_id
left join duly.address a
  on a.address_key = d.address_key and a.workspace_id = d.workspace_id and a.channel = d.channel
left join duly.contact c on c.id = a.contact_id and c.workspace_id = a.workspace_id
where d.workspace_id = any (array(select unnest(duly_compat.readable(:'schema', 'rundown'))));
comment on view :"schema".messages is 'Duly: compatible SQL, rundown';
create or replace trigger compat instead of insert or update or delete on :"schema".messages
  for each row execute function duly_compat.messages_write();
grant select, insert, update, delete on :"schema".messages to duly_daemon, duly_producer;
grant select on :"schema".messages to duly_reader;

-- @view message_rate_limits
create or replace view :"schema".message_rate_limits with (security_barrier) as
select coalesce(s.time_slot, h.time_slot) as time_slot, greatest(h.sent, s.messages_sent, 0) as messages_sent,
       case when h.sender = 'foreign' then coalesce(s.most, 100) else s.most end as max_messages_per_slot
from (
  select i.workspace_id, i.sender, x.time_slot, x.sent
  from duly_compat.installed i
  left join lateral (
    select date_trunc('hour', d.sent_at, 'UTC') as time_slot, count(*)::integer as sent
    from duly.delivery_row d where d.workspace_id = i.workspace_id and d.sent_at is not null group by 1) x on true
  where i.schema_name = :'schema' and i.part = 'rundown'
) h
full join duly_compat.slot s on s.workspace_id = h.workspace_id and s.time_slot = h.time_slot
where coalesce(s.workspace_id, h.workspace_id) = any (array(select unnest(duly_compat.readable(:'schema', 'rundown'))))
  and coalesce(s.time_slot, h.time_slot) is not null;
alter view :"schema".message_rate_limits alter column messages_sent set default 0;
alter view :"schema".message_rate_limits alter column max_messages_per_slot set default 100;
comment on view :"schema".message_rate_limits is 'Duly: compatible SQL, rundown';
create or replace trigger compat instead of insert or update or delete on :"schema".message_rate_limits
  for each row execute function duly_compat.message_rate_limits_write();
grant select, insert, update, delete on :"schema".message_rate_limits to duly_daemon, duly_producer;
grant select on :"schema".message_rate_limits to duly_reader;

-- @function schedule_accountability_message(uuid, uuid, text, timestamptz, integer)
create or replace function :"schema".schedule_accountability_message(
  p_user_id uuid, p_contact_id uuid, p_message_text text, p_scheduled_for timestamptz default null, p_priority integer default 3
) returns uuid
language sql
begin atomic
  select duly_compat.schedule_accountability_message(
    :'schema', p_user_id, p_contact_id, p_message_text, p_scheduled_for, p_priority);
end;
comment on function :"schema".schedule_accountability_message(uuid, uuid, text, timestamptz, integer)
  is 'Duly: compatible SQL, rundown';
revoke all on function :"schema".schedule_accountability_message(uuid, uuid, text, timestamptz, integer) from public;
grant execute on function :"schema".schedule_accountability_message(uuid, uuid, text, timestamptz, integer)
  to duly_daemon, duly_producer;

-- @function get_messages_to_send(integer, integer)
create or replace function :"schema".get_messages_to_send(batch_size integer default 50, max_per_time_slot integer default 100)
returns table (
  message_id uuid, user_id uuid, contact_id uuid, email text, phone text, message_text text, scheduled_for timestamptz,
  priority integer
)
language sql
begin atomic
  select t.message_id, t.user_id, t.contact_id, t.email, t.phone, t.message_text, t.scheduled_for, t.priority
  from duly_compat.get_messages_to_send(:'schema', batch_size, max_per_time_slot) t;
end;
comment on function :"schema".get_messages_to_send(integer, integer) is 'Duly: compatible SQL, rundown';
revoke all on function :"schema".get_messages_to_send(integer, integer) from public;
grant execute on function :"schema".get_messages_to_send(integer, integer) to duly_daemon, duly_producer;

-- @function update_message_status(uuid, text, text)
create or replace function :"schema".update_message_status(p_message_id uuid, p_status text, p_error_message text default null)
returns boolean
language sql
begin atomic
  select duly_compat.update_message_status(:'schema', p_message_id, p_status, p_error_message);
end;
comment on function :"schema".update_message_status(uuid, text, text) is 'Duly: compatible SQL, rundown';
revoke all on function :"schema".update_message_status(uuid, text, text) from public;
grant execute on function :"schema".update_message_status(uuid, text, text) to duly_daemon, duly_producer;
