-- Series of reminders, as producers make and change them, and the people who are in them.

alter table duly.series
  add column since timestamptz not null default now(), -- when its times became what they are: none before is caught up
  add column problem text,                             -- why it cannot be planned; null: it can
  add check (begins_at is null or begins_at = date_trunc('minute', begins_at)
             and begins_at >= '1970-01-01' and begins_at < '2200-01-01'),
  add check (cardinality(exceptions) <= 1000);

alter table duly.series_member
  add column since timestamptz not null default now(),
  add check (begins_at is null or begins_at = date_trunc('minute', begins_at)
             and begins_at >= '1970-01-01' and begins_at < '2200-01-01');

-- For whom a series is to be planned again: it has changed, or they were added. The planner takes it when it has
-- committed, so that nobody is left out who was added while a day was being planned.
create table duly.series_again (
  id bigint generated always as identity primary key,
  series_id uuid not null,
  workspace_id integer not null,
  contact_id uuid,                         -- null: for all
  afresh boolean not null default true     -- what lies ahead of them no longer holds
);

create index series_member_contact on duly.series_member (contact_id); -- for an erasure and an export
create index planned_ahead on duly.planned (source_id, wished_at);

-- What is wrong with a rule, as far as SQL can say; null where nothing is. The daemon reads it in full.
create function duly.rrule_problem(rrule text) returns text
language plpgsql immutable parallel safe
as $$
declare
  numbers text := '[+-]?[0-9]{1,3}(,[+-]?[0-9]{1,3})*';
  days text := '([+-]?[0-9]{1,2})?(MO|TU|WE|TH|FR|SA|SU)';
  part text := format(
    '(FREQ=(YEARLY|MONTHLY|WEEKLY|DAILY)|(INTERVAL|COUNT)=[0-9]{1,4}|UNTIL=[0-9]{8}(T[0-9]{6}Z?)?|WKST=(MO|TU|WE|TH|FR|SA|SU)|'
    'BYDAY=%1$s(,%1$s)*|(BYMONTH|BYMONTHDAY|BYYEARDAY|BYWEEKNO|BYSETPOS|BYHOUR|BYMINUTE)=%2$s)', days, numbers);
begin
  return case
    when char_length(rrule) > 1000 then format('rrule: has %s characters; it may have 1000', char_length(rrule))
    when rrule ~* 'FREQ=(HOURLY|MINUTELY|SECONDLY)' then
      'rrule: by the hour, minute or second it would flood people; write FREQ=DAILY with BYHOUR and BYMINUTE instead'
    when rrule ~* '(DTSTART|EXDATE|RDATE)' then
      'rrule: has DTSTART, EXDATE or RDATE; give begins_at and exceptions beside the rule'
    when upper(rrule) !~ ('^' || part || '(;' || part || ')*$') or upper(rrule) !~ '(^|;)FREQ=' then
      'rrule: is no rule of RFC 5545 such as FREQ=WEEKLY;BYDAY=MO,TH;UNTIL=20261231'
    when upper(rrule) ~ '(^|;)([A-Z]+)=.*;\2=' then 'rrule: has a part twice; give each once'
    when upper(rrule) ~ '(^|;)COUNT=' and upper(rrule) ~ '(^|;)UNTIL=' then 'rrule: has COUNT and UNTIL; give one of them'
  end;
end $$;

-- Takes back what was planned of a series and lies ahead, for one contact or all, so that it can be planned anew: its
-- deliveries are canceled, if nobody sends them already, and what was decided is forgotten. `all_of_it`: deliveries that
-- wait past their time are canceled too. Returns how many were canceled.
create function duly.take_back(workspace integer, series uuid, contact uuid, why text, all_of_it boolean default false)
returns bigint
language plpgsql security definer set search_path = duly, pg_temp
as $$
#variable_conflict use_variable
declare
  since timestamptz := case when all_of_it then now() - interval '60 days' else now() end;
  waiting uuid[];
  canceled uuid[];
begin
  if contact is null then -- two statements, for two indexes
    waiting := array(
      select p.delivery_id from duly.planned p
      where p.source_id = series and p.workspace_id = workspace and p.wished_at > since and p.delivery_id is not null);
  else
    waiting := array(
      select p.delivery_id from duly.planned p
      where p.source_id = series and p.workspace_id = workspace and p.contact_id = contact and p.wished_at > since
        and p.delivery_id is not null);
  end if;
  canceled := array(
    select d.id from duly.delivery_row d
    where d.id = any (waiting) and d.workspace_id = workspace and d.state in ('queued', 'leased')
    order by d.id for update);
  update duly.delivery_row d
  set state = 'canceled', reason = 'canceled', detail = why, state_at = now(), lease_token = null, node_id = null
  where d.id = any (canceled) and d.workspace_id = workspace;
  if contact is null then
    delete from duly.planned p
    where p.source_id = series and p.workspace_id = workspace and p.wished_at > now()
      and (p.delivery_id is null or p.delivery_id = any (canceled));
  else
    delete from duly.planned p
    where p.source_id = series and p.workspace_id = workspace and p.contact_id = contact and p.wished_at > now()
      and (p.delivery_id is null or p.delivery_id = any (canceled));
  end if;
  if cardinality(canceled) > 0 then
    perform duly.audit_append(duly.caller(), 'canceled', workspace, series::text,
                              jsonb_build_object('why', why, 'count', cardinality(canceled)));
  end if;
  return cardinality(canceled);
end $$;

-- Has a series planned again for one contact or all, and takes back at once what lies ahead.
create function duly.plan_series_again(workspace integer, series uuid, contact uuid, why text) returns void
language sql security definer set search_path = duly, pg_temp
as $$
  select duly.take_back(workspace, series, contact, why);
  insert into duly.series_again (series_id, workspace_id, contact_id) values (series, workspace, contact);
$$;

-- Opens the planning of the days that are not over again, from the first contact on who asks for it. What was decided
-- meanwhile by what no longer holds is taken back; what was decided and holds stays. Returns how many series.
create function duly.reopen_series() returns bigint
language plpgsql security definer set search_path = duly, pg_temp
as $$
declare
  asking record;
  done bigint := 0;
  today date := (now() at time zone 'UTC' - interval '12 hours')::date;
  before uuid;
begin
  for asking in
    with taken as (
      delete from duly.series_again a
      where a.id in (select b.id from duly.series_again b order by b.id limit 10000 for update skip locked)
      returning a.series_id, a.workspace_id, a.contact_id, a.afresh)
    select t.series_id, t.workspace_id, bool_or(t.contact_id is null) as everybody, min(t.contact_id::text)::uuid as first,
           array_agg(distinct t.contact_id) filter (where t.afresh) as afresh
    from taken t group by t.series_id, t.workspace_id order by t.series_id
  loop
    perform from duly.plan_run r
    where r.series_id = asking.series_id and r.workspace_id = asking.workspace_id and r.on_date >= today
    order by r.on_date for update;
    before := null;
    if asking.everybody then
      perform duly.take_back(asking.workspace_id, asking.series_id, null, 'the series has changed: planned anew');
    else
      perform duly.take_back(asking.workspace_id, asking.series_id, a.contact, 'the member has changed: planned anew')
      from unnest(asking.afresh) a (contact);
      select m.contact_id into before from duly.series_member m
      where m.series_id = asking.series_id and m.workspace_id = asking.workspace_id and m.contact_id < asking.first
      order by m.contact_id desc limit 1;
    end if;
    update duly.plan_run r set done_at = null, last_contact = before
    where r.series_id = asking.series_id and r.workspace_id = asking.workspace_id and r.on_date >= today
      and (r.done_at is not null or r.last_contact > before or before is null and r.last_contact is not null);
    done := done + 1;
  end loop;
  return done;
end $$;

-- The series of reminders of that name. Raises 22023.
create function duly.reminders_of(workspace duly.workspace, name text) returns duly.series
language plpgsql stable
as $$
declare
  found_series duly.series;
begin
  select s.* into found_series from duly.series s where s.workspace_id = workspace.id and s.name = reminders_of.name;
  if found_series.id is null then
    raise exception 'series: % is no series of workspace %; make it with duly.put_series',
      coalesce(quote_literal(left(name, 100)), 'null'), workspace.name using errcode = '22023';
  elsif found_series.kind <> 'reminder' then
    raise exception 'series: % is one of check-ins, which are for everybody with preferences', quote_literal(name)
      using errcode = '22023';
  end if;
  return found_series;
end $$;

-- Makes a series of reminders, or changes the one of that name into what is given. `rrule`: when it recurs, as RFC 5545
-- writes it, without DTSTART; null: once. `begins_at`: the first time it may come, on the wall clock in `zone`, else the
-- recipient's; null: each member has one of their own. `exceptions`: times at which it does not come; one at midnight is
-- the whole day. What was planned by what has changed is canceled and planned anew. Returns its id. Raises 22023.
create function duly.put_series(
  workspace text, name text, template text, rrule text default null, begins_at timestamp default null, zone text default null,
  exceptions timestamp[] default '{}', catch_up text default 'skip', earlier interval default '0',
  later interval default '4 hours', category text default null, priority integer default null, channels text[] default '{}'
) returns uuid
language plpgsql security definer set search_path = duly, pg_temp
as $$
#variable_conflict use_column
declare
  found_workspace duly.workspace := duly.writable_workspace(workspace);
  present duly.series;
  wanted duly.series;
  problem text;
begin
  rrule := upper(regexp_replace(nullif(rrule, ''), '^RRULE:', '', 'i'));
  zone := nullif(zone, '');
  perform duly.learn_time_zones(array[zone]);
  problem := case
    when name is null or name !~ '^[a-z][a-z0-9_.-]{0,79}$' then
      'name: must be 1 to 80 small letters, digits, ., - and _, such as physio-knee'
    when template is null or template !~ '^[a-z][a-z0-9_.-]{0,79}(@[0-9]{1,9})?$' then
      'template: must be the name of a template, or name@version'
    when rrule is not null and duly.rrule_problem(rrule) is not null then duly.rrule_problem(rrule)
    when begins_at <> date_trunc('minute', begins_at) then 'begins_at: must be a whole minute'
    when not (begins_at >= '1970-01-01' and begins_at < '2200-01-01') then 'begins_at: must be in the years 1970 to 2199'
    when zone is not null and not exists (select from duly.time_zone z where z.name = put_series.zone) then
      format('zone: %L is not the name of an IANA zone, such as America/New_York', left(zone, 64))
    when cardinality(exceptions) > 1000 then 'exceptions: are more than 1000; let the series end, and begin another'
    when array_position(exceptions, null) is not null or exists (
           select from unnest(exceptions) e (at) where not (e.at >= '1970-01-01' and e.at < '2200-01-01')) then
      'exceptions: must be times on the wall clock in the years 1970 to 2199, such as 2026-12-25 09:00'
    when catch_up is null or catch_up not in ('skip', 'latest', 'all') then
      format('catch_up: %s is none of skip, latest, all', coalesce(quote_literal(left(catch_up, 40)), 'null'))
    when earlier is null or not (earlier between '0' and '7 days') then 'earlier: must be from 0 to 7 days'
    when later is null or not (later between '0' and '7 days') then 'later: must be from 0 to 7 days'
    when category is not null and (category !~ '^[a-z][a-z0-9_]{0,39}$' or duly.category_problem(category) is not null) then
      'category: must be 1 to 40 small letters, digits and underscores, such as transactional'
    when priority not between 1 and 3 then format('priority: %s is none of 1 (high), 2 (normal), 3 (bulk)', priority)
    when duly.channels_problem(channels) is not null then duly.channels_problem(channels)
  end;
  if problem is not null then
    raise exception '%', problem using errcode = '22023';
  end if;

  insert into duly.series as s (id, workspace_id, name, kind, templates, rrule, begins_at, zone, exceptions, catch_up,
                                earlier, later, category, priority, channels)
  values (duly.new_id(), found_workspace.id, put_series.name, 'reminder', jsonb_build_object('reminder', template),
          put_series.rrule, put_series.begins_at, put_series.zone, coalesce(put_series.exceptions, '{}'), put_series.catch_up,
          put_series.earlier, put_series.later, put_series.category, put_series.priority, coalesce(put_series.channels, '{}'))
  on conflict (workspace_id, name) do nothing
  returning s.* into wanted;
  if wanted.id is not null then return wanted.id; end if;

  select s.* into present from duly.series s where s.workspace_id = found_workspace.id and s.name = put_series.name for update;
  perform duly.reminders_of(found_workspace, name); -- raises for another kind
  update duly.series s
  set templates = jsonb_build_object('reminder', template), rrule = put_series.rrule, begins_at = put_series.begins_at,
      zone = put_series.zone, exceptions = coalesce(put_series.exceptions, '{}'), catch_up = put_series.catch_up,
      earlier = put_series.earlier, later = put_series.later, category = put_series.category,
      priority = put_series.priority, channels = coalesce(put_series.channels, '{}'), problem = null
  where s.id = present.id and s.workspace_id = found_workspace.id
  returning s.* into wanted;
  if (wanted.rrule, wanted.begins_at, wanted.zone, wanted.exceptions)
     is distinct from (present.rrule, present.begins_at, present.zone, present.exceptions) then
    update duly.series s set since = now() where s.id = present.id and s.workspace_id = found_workspace.id;
  end if;
  if wanted is distinct from present then
    perform duly.plan_series_again(found_workspace.id, present.id, null, 'the series has changed: planned anew');
  end if;
  return present.id;
end $$;

-- The one place that adds somebody to a series: whether they are new in it, or what is wrong.
create function duly.series_member_checked(
  workspace duly.workspace, series duly.series, item jsonb, out added boolean, out error text
)
language plpgsql
as $$
#variable_conflict use_variable
declare
  outside text := item ->> 'contact';
  given jsonb := coalesce(nullif(item -> 'variables', 'null'), '{}');
  begins timestamp;
  ends date;
  whose uuid;
  present duly.series_member;
begin
  error := duly.fields_problem(item, '{contact,begins_at,ends_on}', '{255,40,40}', '{variables}');
  error := coalesce(error, case
    when outside is null then 'contact: is missing; give the external_id of a contact'
    when jsonb_typeof(given) <> 'object' then 'variables: must be a JSON object'
    when pg_column_size(given) > 16384 then 'variables: are larger than 16 KiB'
    when item ->> 'begins_at' !~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:00)?$' then
      'begins_at: must be a whole minute on the wall clock, without a zone, such as 2026-03-01T09:00'
    when item ->> 'ends_on' !~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}$' then 'ends_on: must be a day such as 2026-12-31' end);
  if error is not null then return; end if;
  begin
    begins := (item ->> 'begins_at')::timestamp;
    ends := (item ->> 'ends_on')::date;
  exception when datetime_field_overflow or invalid_datetime_format then
    error := 'begins_at: there is no such day or time; see ends_on too';
    return;
  end;
  error := case
    when begins is null and series.begins_at is null then 'begins_at: is missing; the series has none for all'
    when not (begins >= '1970-01-01' and begins < '2200-01-01') then 'begins_at: must be in the years 1970 to 2199'
    when not (ends >= '1970-01-01' and ends < '2200-01-01') then 'ends_on: must be in the years 1970 to 2199'
    when ends < coalesce(begins, series.begins_at)::date then 'ends_on: is before it begins' end;
  if error is not null then return; end if;
  select c.id into whose from duly.contact c where c.workspace_id = workspace.id and c.external_id = outside;
  if whose is null then
    error := format('contact: %L is no contact''s external_id in this workspace; put it in with duly.put_contact first',
                    left(outside, 100));
    return;
  end if;
  insert into duly.series_member (series_id, workspace_id, contact_id, variables, begins_at, ends_on)
  values (series.id, workspace.id, whose, given, begins, ends)
  on conflict (series_id, contact_id, workspace_id) do nothing;
  added := found;
  if added then
    insert into duly.series_again (series_id, workspace_id, contact_id, afresh) values (series.id, workspace.id, whose, false);
    return;
  end if;
  select m.* into present from duly.series_member m
  where m.series_id = series.id and m.contact_id = whose and m.workspace_id = workspace.id for update;
  if (present.variables, present.begins_at, present.ends_on) is distinct from (given, begins, ends) then
    update duly.series_member m
    set variables = given, begins_at = begins, ends_on = ends,
        since = case when m.begins_at is distinct from begins then now() else m.since end
    where m.series_id = series.id and m.contact_id = whose and m.workspace_id = workspace.id;
    perform duly.plan_series_again(workspace.id, series.id, whose, 'the member has changed: planned anew');
  end if;
end $$;

-- Adds a contact, by external_id, to a series of reminders, or changes what it has for them: `variables` for its template,
-- a beginning of their own, and the last day on which it comes. Whether they are new in it. Raises 22023.
create function duly.add_to_series(
  workspace text, series text, contact text, variables jsonb default '{}', begins_at timestamp default null,
  ends_on date default null
) returns boolean
language plpgsql security definer set search_path = duly, pg_temp
as $$
declare
  found_workspace duly.workspace := duly.writable_workspace(workspace);
  result record;
begin
  if not isfinite(begins_at) or not isfinite(ends_on) or begins_at <> date_trunc('minute', begins_at) then
    raise exception 'begins_at: must be a whole minute, and ends_on a day' using errcode = '22023';
  end if;
  select * into result from duly.series_member_checked(
    found_workspace, duly.reminders_of(found_workspace, series), jsonb_build_object(
      'contact', contact, 'variables', variables, 'begins_at', to_char(begins_at, 'YYYY-MM-DD"T"HH24:MI'),
      'ends_on', to_char(ends_on, 'YYYY-MM-DD')));
  if result.error is not null then
    raise exception '%', result.error using errcode = '22023';
  end if;
  return result.added;
end $$;

-- Adds many: a JSON array of objects with add_to_series' parameter names. One row per item, by position from 1: whether
-- they are new in it, or what is wrong. A wrong item does not keep the others back.
create function duly.add_to_series_batch(workspace text, series text, items jsonb)
returns table ("position" integer, added boolean, error text)
language plpgsql security definer set search_path = duly, pg_temp
as $$
#variable_conflict use_column
declare
  found_workspace duly.workspace := duly.writable_workspace(workspace);
  found_series duly.series := duly.reminders_of(found_workspace, series);
  item jsonb;
begin
  if items is null or jsonb_typeof(items) <> 'array' then
    raise exception 'items: must be a JSON array of objects' using errcode = '22023';
  end if;
  for "position", item in select n, value from jsonb_array_elements(items) with ordinality i (value, n) loop
    select c.added, c.error into added, error from duly.series_member_checked(found_workspace, found_series, item) c;
    return next;
  end loop;
end $$;

-- Takes a contact out of a series; what waits for them is canceled. Whether they were in it. Raises 22023.
create function duly.remove_from_series(workspace text, series text, contact text) returns boolean
language plpgsql security definer set search_path = duly, pg_temp
as $$
#variable_conflict use_variable
declare
  found_workspace duly.workspace := duly.writable_workspace(workspace);
  found_series duly.series := duly.reminders_of(found_workspace, series);
  whose uuid;
begin
  delete from duly.series_member m
  where m.series_id = found_series.id and m.workspace_id = found_workspace.id and m.contact_id = (
    select c.id from duly.contact c where c.workspace_id = found_workspace.id and c.external_id = contact)
  returning m.contact_id into whose;
  if whose is null then
    return false;
  end if;
  perform duly.take_back(found_workspace.id, found_series.id, whose, 'taken out of the series', true);
  insert into duly.series_again (series_id, workspace_id, contact_id) values (found_series.id, found_workspace.id, whose);
  return true;
end $$;

-- Stops a series until it is resumed: what waits is canceled. Whether it was going on. Raises 22023.
create function duly.pause_series(workspace text, series text) returns boolean
language plpgsql security definer set search_path = duly, pg_temp
as $$
#variable_conflict use_variable
declare
  found_workspace duly.workspace := duly.writable_workspace(workspace);
  found_series duly.series := duly.reminders_of(found_workspace, series);
begin
  update duly.series s set enabled = false
  where s.id = found_series.id and s.workspace_id = found_workspace.id and s.enabled;
  if not found then
    return false;
  end if;
  perform duly.take_back(found_workspace.id, found_series.id, null, 'the series is paused', true);
  insert into duly.series_again (series_id, workspace_id) values (found_series.id, found_workspace.id);
  return true;
end $$;

-- Lets a paused series go on, from now: what would have come meanwhile does not. Whether it was paused. Raises 22023.
create function duly.resume_series(workspace text, series text) returns boolean
language plpgsql security definer set search_path = duly, pg_temp
as $$
#variable_conflict use_variable
declare
  found_workspace duly.workspace := duly.writable_workspace(workspace);
  found_series duly.series := duly.reminders_of(found_workspace, series);
begin
  update duly.series s set enabled = true, since = now()
  where s.id = found_series.id and s.workspace_id = found_workspace.id and not s.enabled;
  if not found then
    return false;
  end if;
  insert into duly.series_again (series_id, workspace_id) values (found_series.id, found_workspace.id);
  return true;
end $$;

-- Who goes by another clock gets what lies ahead by that one.
create function duly.plan_reminders_by_clock() returns trigger
language plpgsql security definer set search_path = duly, pg_temp
as $$
begin
  perform duly.plan_series_again(m.workspace_id, m.series_id, m.contact_id, 'the clock has changed: planned anew')
  from duly.series_member m join duly.series s on s.id = m.series_id and s.workspace_id = m.workspace_id
  where m.contact_id = new.id and m.workspace_id = new.workspace_id and s.zone is null
  order by m.series_id;
  return new;
end $$;
create trigger plan_reminders after update of time_zone on duly.contact
  for each row when (old.time_zone is distinct from new.time_zone) execute function duly.plan_reminders_by_clock();

select duly.protect('{series_again}');
revoke all on all functions in schema duly from public;
grant execute on function
  duly.put_series(text, text, text, text, timestamp, text, timestamp[], text, interval, interval, text, integer, text[]),
  duly.add_to_series(text, text, text, jsonb, timestamp, date), duly.add_to_series_batch(text, text, jsonb),
  duly.remove_from_series(text, text, text), duly.pause_series(text, text), duly.resume_series(text, text)
  to duly_producer, duly_daemon;
grant execute on function duly.reopen_series() to duly_daemon;
grant select on duly.series_again to duly_daemon;
grant update (problem) on duly.series to duly_daemon;
