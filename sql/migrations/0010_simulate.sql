-- What would become of a message, before it exists: duly.simulate, and what the daemon writes down here for it. Its
-- rules are those of daemon/rules/, and its answers are the same.

-- What the TOML asks of each workspace's messages; '': of workspaces that it does not name.
create table duly.rule_set (
  workspace text primary key,
  rules jsonb not null,
  registered_at timestamptz not null default now()
);

-- Of which version the daemon's tables of zones and numbers are, and for which moments they can answer.
create table duly.almanac (
  one boolean primary key default true check (one),
  version text not null,
  first_at timestamptz not null,
  last_at timestamptz not null,
  registered_at timestamptz not null default now()
);

-- The offsets from UTC of all zones, in UTC. Postgres' own zones may be of another version than the daemon's.
create table duly.zone_offset (
  zone text not null,
  since timestamp not null,
  until timestamp not null,
  utc_offset interval not null,
  primary key (zone, since)
);

-- Country codes, and how a number of each is read: daemon/rules/number_plans.py tells these columns and the next ones.
create table duly.number_plan (
  code text primary key,
  prefix text,
  transform text,
  viable text not null,
  lengths integer[] not null
);

-- The countries of a code, in the order in which they are asked, and what their kinds of numbers tell.
create table duly.number_region (
  code text not null,
  rank integer not null,
  country text not null,
  leading_digits text,
  zones text[] not null,
  general jsonb not null,
  kinds jsonb not null,
  primary key (code, rank)
);

-- The zones of what a number with an area code begins with; country '': of whichever country of its plan it is.
create table duly.number_area (
  prefix text not null,
  country text not null,
  zones text[] not null,
  primary key (prefix, country)
);

-- Puts these rules, by workspace, in the place of all.
create function duly.register_rules(rules jsonb) returns void
language plpgsql security definer set search_path = duly, pg_temp
as $$
begin
  lock table duly.rule_set in share row exclusive mode;
  delete from duly.rule_set s where not register_rules.rules ? s.workspace;
  insert into duly.rule_set as s (workspace, rules) select r.key, r.value from jsonb_each(register_rules.rules) r
  on conflict (workspace) do update set rules = excluded.rules, registered_at = now() where s.rules <> excluded.rules;
end $$;

-- Puts these tables in the place of what is there, unless they are of the same version.
create function duly.register_almanac(
  version text, first_at timestamptz, last_at timestamptz, offsets jsonb, plans jsonb, regions jsonb, areas jsonb
) returns void
language plpgsql security definer set search_path = duly, pg_temp
as $$
begin
  lock table duly.almanac in share row exclusive mode;
  if exists (select from duly.almanac a where a.version = register_almanac.version) then return; end if;
  delete from duly.almanac;
  delete from duly.zone_offset;
  delete from duly.number_plan;
  delete from duly.number_region;
  delete from duly.number_area;
  insert into duly.almanac (version, first_at, last_at) values (version, first_at, last_at);
  insert into duly.zone_offset (zone, since, until, utc_offset)
  select o.zone, to_timestamp(o.since) at time zone 'UTC', to_timestamp(o.until) at time zone 'UTC', make_interval(secs => o.seconds)
  from jsonb_to_recordset(offsets) o (zone text, since float8, until float8, seconds float8);
  insert into duly.number_plan select p.* from jsonb_populate_recordset(null::duly.number_plan, plans) p;
  insert into duly.number_region select r.* from jsonb_populate_recordset(null::duly.number_region, regions) r;
  insert into duly.number_area select a.* from jsonb_populate_recordset(null::duly.number_area, areas) a;
end $$;

-- The national part of a number as libphonenumber's parse takes it: without what is dialled within the country only.
create function duly.national_number(plan duly.number_plan, digits text) returns text
language plpgsql immutable
as $$
declare
  dialled text[] := regexp_match(digits, '^(' || plan.prefix || ')'); -- all of it, then the pattern's own groups
  rest text;
begin
  if dialled is null then
    return digits;
  elsif plan.transform is null or dialled[cardinality(dialled)] is null then
    rest := substr(digits, 1 + length(dialled[1]));
  else
    rest := regexp_replace(digits, '^(?:' || plan.prefix || ')', plan.transform);
  end if;
  if length(rest) <> all (plan.lengths)
     or digits ~ ('^(?:' || plan.viable || ')$') and rest !~ ('^(?:' || plan.viable || ')$') then
    return digits;
  end if;
  return rest;
end $$;

create function duly.number_fits(kind jsonb, nsn text) returns boolean
language sql immutable
as $$ select kind -> 'lengths' @> to_jsonb(length(nsn)) and nsn ~ ('^(?:' || (kind ->> 'pattern') || ')$') $$;

-- What the kind of a national significant number tells in this region: the area, the country, or nothing; null where it
-- is of no kind.
create function duly.number_tells(region duly.number_region, nsn text) returns text
language plpgsql immutable
as $$
declare
  kind jsonb;
begin
  if duly.number_fits(region.general, nsn) then
    for kind in select k.value from jsonb_array_elements(region.kinds) with ordinality k order by k.ordinality loop
      if duly.number_fits(kind, nsn) then return kind ->> 'tells'; end if;
    end loop;
  end if;
  return null;
end $$;

-- A number's country, and all zones that it allows, sorted; both null where it tells nothing.
create function duly.origin(number text, out country text, out zones text[])
language plpgsql stable
as $$
#variable_conflict use_variable
declare
  digits text := substr(number, 2);
  plan duly.number_plan;
  nsn text; -- national significant number
  region duly.number_region;
  here boolean;
  tells text;
begin
  if number !~ '^\+[1-9][0-9]{6,14}$' then return; end if;
  select p.* into plan from duly.number_plan p where p.code in (left(digits, 1), left(digits, 2), left(digits, 3));
  if not found then return; end if;
  nsn := duly.national_number(plan, substr(digits, 1 + length(plan.code)));
  for region in select r.* from duly.number_region r where r.code = plan.code order by r.rank loop
    here := nsn ~ ('^(?:' || region.leading_digits || ')');
    if here is not false then
      tells := duly.number_tells(region, nsn);
    end if;
    exit when coalesce(here, tells is not null);
  end loop;
  if coalesce(tells, 'nothing') = 'nothing' then return; end if;
  country := region.country;
  if tells = 'area' then
    select a.zones into zones from duly.number_area a
    where a.prefix in (select left(digits, n) from generate_series(length(plan.code) + 1, length(digits)) n)
      and a.country in ('', country)
    order by length(a.prefix) desc limit 1;
  end if;
  if zones is null then -- of all countries that may have given it out
    select array_agg(distinct z.zone collate "C" order by z.zone collate "C") into zones
    from duly.number_region r, unnest(r.zones) z (zone)
    where r.code = plan.code and duly.number_tells(r, nsn) is not null;
  end if;
end $$;

-- What a clock on the wall shows. All instants here are in UTC, without a zone.
create function duly.wall_clock(at timestamp, zone text) returns timestamp
language sql stable
as $$
  select wall_clock.at + o.utc_offset from duly.zone_offset o
  where o.zone = wall_clock.zone and o.since <= wall_clock.at and wall_clock.at < o.until
$$;

-- The first instant at which the clock on the wall shows this time, or a later one because it jumps over it.
create function duly.wall_instant(wall timestamp, zone text) returns timestamp
language sql stable
as $$
  select min(greatest(wall - o.utc_offset, o.since)) from duly.zone_offset o
  where o.zone = wall_instant.zone and greatest(wall - o.utc_offset, o.since) < o.until
$$;

-- Whether it is quiet at an instant in any of these zones, and until when the answer holds: the next instant that is
-- quiet in any of them, or in none; null if none comes within 48 hours. `hours`: such as '21:00-08:00'.
create function duly.quiet_at(hours text, zones text[], at timestamp, out quiet boolean, out until timestamp)
language sql stable
as $$
  with night as (
    select begins, ends + case when ends < begins then interval '1 day' else interval '0' end as ends
    from (select split_part(hours, '-', 1)::interval as begins, split_part(hours, '-', 2)::interval as ends) n
  ), stretch as materialized ( -- zone by zone, cut where its offset changes
    select s.begins, s.ends
    from night, duly.zone_offset o,
      lateral generate_series(date_trunc('day', greatest(o.since, at) + o.utc_offset) - interval '1 day',
                              least(o.until, at + interval '3 days') + o.utc_offset, interval '1 day') d (day),
      lateral (select greatest(d.day + night.begins - o.utc_offset, o.since) as begins,
                      least(d.day + night.ends - o.utc_offset, o.until) as ends) s
    where o.zone = any (zones) and o.since < at + interval '3 days' and o.until > at and s.begins < s.ends and s.ends > at
  ), now as (
    select coalesce(bool_or(s.begins <= at), false) as quiet from stretch s
  )
  select now.quiet,
         case when now.quiet then (
           select min(s.ends) from stretch s
           where s.ends <= at + interval '48 hours'
             and not exists (select from stretch o where o.begins <= s.ends and s.ends < o.ends)
         ) else (select min(s.begins) from stretch s) end
  from now
$$;

-- One rule's answer, as receipts hold it.
create function duly.answered(rule text, answer text, reason text, until timestamp, because jsonb) returns jsonb
language sql immutable
as $$
  select jsonb_strip_nulls(jsonb_build_object(
           'rule', rule, 'answer', answer, 'reason', reason,
           'until', to_char(until, case when date_trunc('second', until) = until then 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"'
                                        else 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"' end)))
         || jsonb_build_object('because', because)
$$;

-- The quiet hours' answer. `rules`: of the category; `hours` null: there are none; `zones` null: nobody knows.
create function duly.quiet_hours_ruling(rules jsonb, hours text, zones text[], source text, at timestamp) returns jsonb
language plpgsql stable
as $$
#variable_conflict use_variable
declare
  found record;
  why text := 'nothing tells the zone';
  choice text := rules ->> 'no_zone';
  because jsonb := jsonb_build_object('hours', replace(hours, '-', ' to '), 'source', source, 'zones', case
    when cardinality(zones) <= 5 then array_to_string(zones, ', ')
    else array_to_string(zones[1:5], ', ') || format(' and %s more', cardinality(zones) - 5) end);
begin
  if hours is null then
    return duly.answered('quiet_hours', 'allow', null, null, '{"hours": null}');
  end if;
  if zones is not null then
    select * into found from duly.quiet_at(hours, zones, at);
    why := 'no instant within 48 hours is allowed in all of these zones';
    choice := rules ->> 'no_common_hour';
  end if;
  if zones is null or found.quiet and found.until is null then
    because := because || jsonb_build_object('why', why, 'choice', choice);
    if choice in ('skip', 'allow') then
      return duly.answered('quiet_hours', choice, case choice when 'skip' then 'quiet_hours' end, null, because);
    end if;
    because := because || jsonb_build_object('choice', 'assume', 'assumed', choice);
    zones := array[choice];
    select * into found from duly.quiet_at(hours, zones, at);
  end if;
  because := because || jsonb_build_object('local', (
    select case when min(wall) = max(wall) then to_char(min(wall), 'YYYY-MM-DD HH24:MI')
                else to_char(min(wall), 'YYYY-MM-DD HH24:MI "to "') || to_char(max(wall), 'YYYY-MM-DD HH24:MI') end
    from unnest(zones) z (zone), duly.wall_clock(at, z.zone) wall));
  return duly.answered('quiet_hours', case when not found.quiet then 'allow' when found.until is null then 'skip' else 'defer' end,
                       case when found.quiet then 'quiet_hours' end, found.until, because);
end $$;

-- A cap's answer. `used`: when it was; `zone`: the recipient's.
create function duly.cap_ruling(cap jsonb, used timestamptz[], at timestamp, zone text) returns jsonb
language plpgsql stable
as $$
#variable_conflict use_variable
declare
  most integer := cap ->> 'limit';
  span interval := make_interval(secs => (cap ->> 'seconds')::float8);
  calendar text := cap ->> 'calendar';
  since timestamp := at - span;
  free_at timestamp := at + span;
  marks timestamp[]; -- that count, the latest first
  because jsonb;
begin
  if calendar is not null then
    since := duly.wall_instant(date_trunc(calendar, duly.wall_clock(at, zone)), zone);
    free_at := duly.wall_instant(date_trunc(calendar, duly.wall_clock(at, zone)) + ('1 ' || calendar)::interval, zone);
  end if;
  marks := array(select m.at at time zone 'UTC' from unnest(used) m (at) where m.at at time zone 'UTC' > since order by m.at desc);
  if calendar is null and most <= cardinality(marks) then
    free_at := marks[most] + span; -- room for one more is there when only `most - 1` are left within the window
  end if;
  because := jsonb_build_object('cap', cap -> 'cap', 'limit', most, 'per', cap -> 'per', 'used', cardinality(marks));
  if cardinality(marks) < most then
    return duly.answered('cap', 'allow', null, null, because);
  elsif most = 0 or (cap ->> 'skips')::boolean then
    return duly.answered('cap', 'skip', 'cap_reached', null, because);
  end if;
  return duly.answered('cap', 'defer', 'cap_reached', free_at, because);
end $$;

-- What would become of a message at a moment, and by which rules: {"outcome": "go" | "wait" | "skip", "until" of a
-- wait, "reason" of a wait or skip, "rulings": […]}, as `duly simulate --json` says it. Writes and sends nothing.
-- Raises 22023 as duly.enqueue does, 55000 where no daemon has registered its rules yet.
create function duly.simulate(
  workspace text, channel text, "to" text, category text default 'transactional', at timestamptz default now()
) returns jsonb
language plpgsql stable security definer set search_path = duly, pg_temp
as $$
#variable_conflict use_variable
declare
  found_workspace duly.workspace := duly.writable_workspace(workspace);
  problem text := coalesce(duly.problem(channel, "to", 'x', now(), 2, null, category, null, null, '{}', '{}'),
                           duly.category_problem(category));
  key uuid;
  almanac duly.almanac;
  registered jsonb;
  rules jsonb;
  known record;
  origin record;
  zones text[];
  source text := 'unknown';
  hours text;
  cap jsonb;
  moment timestamp := at at time zone 'UTC';
  rulings jsonb[];
  decisive jsonb;
begin
  if problem is not null then
    raise exception '%', problem using errcode = '22023';
  end if;
  select a.* into almanac from duly.almanac a;
  select s.rules into registered from duly.rule_set s where s.workspace in (found_workspace.name, '')
  order by s.workspace desc limit 1;
  if almanac is null or registered is null then
    raise exception 'no daemon has registered its rules with this database yet'
      using errcode = '55000', hint = 'Start `duly run` on it: it does so within seconds.';
  elsif at is null or at < almanac.first_at or at >= almanac.last_at then
    raise exception 'at: must be a time between % and %', almanac.first_at, almanac.last_at using errcode = '22023';
  end if;
  rules := coalesce(registered -> 'categories' -> category, registered -> 'categories' -> '');
  key := duly.address_key(channel, "to");
  select c.time_zone, c.max_per_week, coalesce(a.own and a.verified_at is not null, false) as own_address,
         (select n.state from duly.consent n
          where n.address_key = key and n.workspace_id = found_workspace.id and n.channel in ('', channel)
            and n.category in ('', category)
          order by n.at desc, n.recorded_at desc, n.id desc limit 1) as consent,
         (select s.reason from duly.suppression s
          where s.address_key = key and s.workspace_id in (found_workspace.id, 0) and s.channel in ('', channel)
            and s.category in ('', category) and s.account = ''
          limit 1) as suppressed
  into known
  from (select) anyone
  left join duly.address a on a.address_key = key and a.workspace_id = found_workspace.id and a.channel = channel
  left join duly.contact c on c.id = a.contact_id and c.workspace_id = a.workspace_id;

  select * into origin from duly.origin("to");
  if exists (select from duly.zone_offset o where o.zone = known.time_zone) then
    zones := array[known.time_zone];
    source := 'given';
  elsif channel in ('sms', 'whatsapp', 'rcs') and origin.zones is not null then
    zones := origin.zones;
    source := 'inferred';
  end if;
  hours := case when rules -> 'hours_in' ? origin.country then rules -> 'hours_in' ->> origin.country else rules ->> 'hours' end;

  rulings := array[
    duly.answered('suppression', case when known.suppressed is null then 'allow' else 'skip' end, known.suppressed, null,
                  jsonb_build_object('listed', known.suppressed)),
    case when (rules ->> 'consent_required')::boolean and known.consent is distinct from 'given'
         then duly.answered('consent', 'skip', 'no_consent', null, jsonb_build_object('required', true, 'last', known.consent))
         else duly.answered('consent', 'allow', null, null,
                            jsonb_build_object('required', rules -> 'consent_required', 'last', known.consent)) end,
    duly.quiet_hours_ruling(rules, hours, zones, source, moment)];
  if (rules ->> 'verified_only')::boolean then
    rulings := rulings || (
      select duly.answered('verification', case when v.may then 'allow' else 'skip' end, case when not v.may then 'not_verified' end, null,
                           jsonb_build_object('verified', v.verified, 'own_address', known.own_address, 'stand_in', v.stand_in))
      from (select f.*, f.verified or known.own_address or f.stand_in as may
            from (select found_workspace.verified_at is not null as verified, registered -> 'stand_ins' ? channel as stand_in) f) v);
  end if;
  for cap in
    select c.value from jsonb_array_elements(rules -> 'caps') c
    union all
    select jsonb_build_object('cap', 'per_week', 'limit', known.max_per_week, 'calendar', 'week', 'per', 'week', 'skips', false)
    where (rules ->> 'per_week')::boolean and known.max_per_week is not null
  loop
    rulings := rulings || duly.cap_ruling(
      cap, (select u.at from duly.cap_use u where u.address_key = key and u.workspace_id = found_workspace.id and u.cap = cap ->> 'cap'),
      moment, coalesce(zones[1], 'UTC'));
  end loop;

  -- A no of one rule is a no; else the longest wait of those that want to wait.
  select r.ruling into decisive from unnest(rulings) with ordinality r (ruling, n)
  where r.ruling ->> 'answer' <> 'allow'
  order by r.ruling ->> 'answer' = 'skip' desc, (r.ruling ->> 'until')::timestamptz desc nulls first, r.n limit 1;
  return jsonb_strip_nulls(jsonb_build_object(
           'outcome', case decisive ->> 'answer' when 'skip' then 'skip' when 'defer' then 'wait' else 'go' end,
           'until', decisive -> 'until', 'reason', decisive -> 'reason'))
         || jsonb_build_object('rulings', to_jsonb(rulings));
end $$;

revoke all on all functions in schema duly from public;
grant execute on function duly.simulate(text, text, text, text, timestamptz) to duly_producer, duly_daemon;
grant execute on function
  duly.register_rules(jsonb), duly.register_almanac(text, timestamptz, timestamptz, jsonb, jsonb, jsonb, jsonb) to duly_daemon;
grant select on duly.almanac to duly_daemon;
