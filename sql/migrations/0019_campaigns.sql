-- Campaigns: one thing said to many, at their own time, no faster than wished, in variants that are compared.

create table duly.campaign (
  id uuid not null,
  workspace_id integer not null,
  name text not null check (name ~ '^[a-z][a-z0-9_.-]{0,79}$'),
  category text not null default 'marketing' check (category ~ '^[a-z][a-z0-9_]{0,39}$'),
  priority smallint not null default 3 check (priority between 1 and 3),
  channels text[] not null default '{sms}' check (cardinality(channels) between 1 and 7), -- the first that somebody has
  segment jsonb,                    -- which contacts, see docs/campaigns.md; null: only those that were added
  variables jsonb not null default '{}' check (pg_column_size(variables) <= 16384),
  sends_at timestamptz,             -- an instant, or
  wall_at timestamp,                -- on the wall clock of each; neither: at the start
  fallback_zone text not null default 'UTC', -- of whom nothing tells the zone
  passed text not null default 'next_day' check (passed in ('next_day', 'now', 'skip')), -- whose time has passed
  per_minute integer check (per_minute between 1 and 1000000),
  per_hour integer check (per_hour between 1 and 10000000),
  earlier interval not null default '0' check (earlier between '0' and '7 days'),
  later interval not null default '0' check (later between '0' and '7 days'),
  expires_at timestamptz,
  holdout real not null default 0 check (holdout between 0 and 90),            -- percent that gets nothing
  test_part real not null default 100 check (test_part > 0 and test_part <= 100), -- percent that the variants are tried on
  metric text not null default 'reply' check (metric in ('reply', 'click', 'helpful', 'callback')),
  measure interval not null default '1 day' check (measure between '1 minute' and '60 days'), -- so long after the sending
  alpha real not null default 0.05 check (alpha between 0.0001 and 0.5),
  decides text not null default 'auto' check (decides in ('auto', 'manual')),
  decide_after interval not null default '4 hours' check (decide_after between '0' and '60 days'),
  state text not null default 'draft' check (state in ('draft', 'running', 'paused', 'done', 'canceled')),
  winner text,
  winner_because jsonb,
  last_contact uuid,                -- how far the gathering of the segment is
  gathered_at timestamptz,
  tested_at timestamptz,            -- when the last of the test part was queued
  next_at timestamptz,              -- no sooner may the next one go, by the throttle
  heard_at timestamptz,             -- replies until then have been counted
  restless boolean not null default false, -- paused, or canceled not long ago: what comes back to the queue must not go
  created_at timestamptz not null default now(),
  started_at timestamptz,
  moved_at timestamptz not null default now(),
  ended_at timestamptz,
  kept jsonb,                       -- what it came to, since its members are removed: `progress` and `results`
  primary key (id, workspace_id),
  check (sends_at is null or wall_at is null)
);
create unique index campaign_name on duly.campaign (workspace_id, name);
create index campaign_open on duly.campaign (moved_at) where state = 'running' or restless;
create index campaign_restless on duly.campaign (id) where restless; -- the last gate asks whether there is any

create table duly.campaign_variant (
  campaign_id uuid not null,
  workspace_id integer not null,
  number smallint not null check (number between 1 and 20),
  name text not null check (name ~ '^[a-z0-9][a-z0-9_.-]{0,39}$' and name <> 'holdout'),
  weight real not null default 1 check (weight > 0 and weight <= 1000000),
  template text check (char_length(template) <= 100),
  style text not null default '' check (style ~ '^[a-z0-9_-]{0,40}$'),
  subject text check (char_length(subject) <= 1000),
  body text check (char_length(body) <= 100000),
  primary key (campaign_id, number, workspace_id),
  check ((template is null) <> (body is null))
);

-- Who a campaign is for: frozen at its start. A contact is in it once.
create table duly.campaign_member (
  campaign_id uuid not null,
  workspace_id integer not null,
  contact_id uuid not null,
  variables jsonb not null default '{}' check (pg_column_size(variables) <= 16384),
  channel text,
  address_key uuid,
  variant text,                     -- null: gets the winner
  tested boolean not null default false, -- the variant was drawn: it counts in the comparison
  -- added: not gathered yet; waiting: not queued yet; queued; over: its delivery has left the queue, and says what became
  -- of it; in the end sent, or skipped for `reason`
  state text not null default 'waiting' check (state in ('added', 'waiting', 'queued', 'over', 'sent', 'skipped')),
  reason text,
  wall_at timestamp,                -- the occurrence, on the wall clock that it was reckoned by
  due_at timestamptz,
  sent_at timestamptz,
  delivery_id uuid,
  generation smallint not null default 0, -- how often it was taken back
  primary key (campaign_id, contact_id, workspace_id)
) with (fillfactor = 80);
create index campaign_member_added on duly.campaign_member (campaign_id, contact_id) where state = 'added';
create index campaign_member_waiting on duly.campaign_member (campaign_id, (variant is null), due_at, contact_id)
  where state = 'waiting';
create index campaign_member_queued on duly.campaign_member (campaign_id) where state = 'queued';
create index campaign_member_over on duly.campaign_member (campaign_id) where state = 'over';
create index campaign_member_address on duly.campaign_member (address_key, campaign_id);
create index campaign_member_contact on duly.campaign_member (contact_id);
create index campaign_member_own on duly.campaign_member (campaign_id) where variables <> '{}';

-- What members did: a reply, a click, what an application calls back. The same key counts once.
create table duly.campaign_event (
  campaign_id uuid not null,
  contact_id uuid not null,
  kind text not null check (kind ~ '^[a-z][a-z_]{0,39}$'),
  key text not null check (char_length(key) <= 255),
  workspace_id integer not null,
  at timestamptz not null default now(),
  primary key (campaign_id, contact_id, kind, key, workspace_id)
);
create index campaign_event_contact on duly.campaign_event (contact_id);

-- By which the contacts of a workspace are walked.
create index contact_workspace on duly.contact (workspace_id, id);

-- A campaign by its name, locked, for whoever may write to the workspace. Raises 22023.
create function duly.campaign_named(workspace text, campaign text) returns duly.campaign
language plpgsql
as $$
declare
  owner duly.workspace := duly.writable_workspace(workspace);
  found_campaign duly.campaign;
begin
  select c.* into found_campaign from duly.campaign c where c.workspace_id = owner.id and c.name = campaign for update;
  if found_campaign.id is null then
    raise exception 'campaign: there is no campaign % in %', coalesce(quote_literal(left(campaign, 100)), 'null'), workspace
      using errcode = '22023';
  end if;
  return found_campaign;
end $$;

create function duly.campaign_refuse(campaign duly.campaign, what text, wanted text) returns void
language plpgsql
as $$
begin
  raise exception 'state: campaign % is % and cannot be %; it would have to be %', campaign.name, campaign.state, what, wanted
    using errcode = '22023';
end $$;

-- Adds people to a campaign that has not begun: a JSON array of objects with `variables` and the fields of
-- duly.put_contact, by which they are found or become contacts; an external_id alone names one that is there. One row
-- per item, by position from 1: its contact, and whether it was in the campaign before; or what is wrong with it.
create function duly.campaign_add(workspace text, campaign text, items jsonb)
returns table ("position" integer, id uuid, repeated boolean, error text)
language plpgsql security definer set search_path = duly, pg_temp
as $$
#variable_conflict use_column
declare
  called duly.campaign := duly.campaign_named(workspace, campaign);
  item jsonb;
  given jsonb;
begin
  if called.state <> 'draft' then
    perform duly.campaign_refuse(called, 'added to', 'a draft');
  elsif items is null or jsonb_typeof(items) <> 'array' then
    raise exception 'items: must be a JSON array of objects' using errcode = '22023';
  end if;
  perform duly.learn_time_zones(array(select i ->> 'time_zone' from jsonb_array_elements(items) i
                                      where jsonb_typeof(i) = 'object'));
  "position" := 0;
  for item in select i.value from jsonb_array_elements(items) i loop
    "position" := "position" + 1;
    id := null; repeated := null; error := null;
    given := coalesce(nullif(case when jsonb_typeof(item) = 'object' then item -> 'variables' end, 'null'), '{}');
    if jsonb_typeof(item) <> 'object' then
      error := 'item: must be a JSON object';
    elsif jsonb_typeof(given) <> 'object' or pg_column_size(given) > 16384 then
      error := 'variables: must be a JSON object of at most 16 KiB';
    elsif item - '{variables,external_id}'::text[] = '{}' then
      select c.id into id from duly.contact c
      where c.workspace_id = called.workspace_id and c.external_id = item ->> 'external_id';
      if id is null then
        error := 'external_id: there is no such contact; give an address too';
      end if;
    else
      select p.id, p.error into id, error from duly.put_contact_checked(
        (select w from duly.workspace w where w.id = called.workspace_id), item - 'variables') p;
    end if;
    if error is null then
      insert into duly.campaign_member (campaign_id, workspace_id, contact_id, variables, state)
      values (called.id, called.workspace_id, id, given, 'added')
      on conflict do nothing;
      repeated := not found;
    end if;
    return next;
  end loop;
end $$;

-- Takes back what is queued or leased of a campaign that is paused or canceled: the deliveries are canceled, and their
-- members wait again. What a platform has for later is asked for; what is being sent is left to finish. `whole`: also what
-- a platform had taken and could not deliver. Returns how many it has taken back.
create function duly.campaign_take_back(campaign duly.campaign, whole boolean) returns bigint
language plpgsql
as $$
declare
  why text := format('campaign %s was %s', campaign.name, campaign.state);
  wanted duly.state := case campaign.state when 'canceled' then 'canceled' else 'queued' end;
  of text[] := case when whole then '{queued,over}' else '{queued}' end;
  taken bigint;
  soonest timestamptz;
begin
  for try in 1 .. 10 loop
    begin
      with meant as (
        -- Not skip locked: what is being leased just now must be waited for.
        select d.id from duly.campaign_member m
        join duly.delivery_row d on d.id = m.delivery_id and d.workspace_id = m.workspace_id
        where m.campaign_id = campaign.id and m.workspace_id = campaign.workspace_id and m.state = any (of)
          and d.state in ('queued', 'leased')
        order by d.id
        for update of d
      ), canceled as (
        update duly.delivery_row d
        set state = 'canceled', reason = 'canceled', detail = why, state_at = now(), lease_token = null, node_id = null
        from meant where d.id = meant.id and d.workspace_id = campaign.workspace_id
        returning d.id
      ), back as (
        update duly.campaign_member m
        set state = 'waiting', delivery_id = null, generation = m.generation + 1
        from canceled c
        where m.campaign_id = campaign.id and m.workspace_id = campaign.workspace_id and m.state = any (of)
          and m.delivery_id = c.id
        returning m.due_at
      )
      select count(*), min(b.due_at) into taken, soonest from back b;
      -- The places of the throttle that they had are free.
      update duly.campaign c set next_at = soonest
      where c.id = campaign.id and c.workspace_id = campaign.workspace_id and c.next_at > soonest;
      -- After the locks: a hand-over that was being noted is seen by now.
      if exists (select from duly.handed_over h where h.ended_at is null and h.workspace_id = campaign.workspace_id) then
        perform duly.ask_back(array(
          select m.delivery_id from duly.campaign_member m
          where m.campaign_id = campaign.id and m.workspace_id = campaign.workspace_id and m.state = 'queued'
            and not exists (
              select from duly.recall c
              where c.delivery_id = m.delivery_id and c.workspace_id = m.workspace_id and c.becomes = wanted and not c.done)),
          wanted, case campaign.state when 'canceled' then 'canceled' else why end);
      end if;
      return taken;
    exception when deadlock_detected then
      if try = 10 then raise; end if;
    end;
  end loop;
end $$;

-- Begins a campaign: from now on its audience is what it was at this moment.
create function duly.campaign_start(workspace text, campaign text) returns boolean
language plpgsql security definer set search_path = duly, pg_temp
as $$
declare
  called duly.campaign := duly.campaign_named(workspace, campaign);
begin
  if called.state not in ('draft', 'running') then
    perform duly.campaign_refuse(called, 'started', case called.state when 'paused' then 'resumed' else 'a draft' end);
  elsif called.expires_at <= now() then
    raise exception 'expires_at: has passed already' using errcode = '22023';
  elsif called.state = 'draft' then
    update duly.campaign c set state = 'running', started_at = now(), heard_at = now(), moved_at = now()
    where c.id = called.id and c.workspace_id = called.workspace_id;
  end if;
  return called.state = 'draft';
end $$;

-- Stops it at once: nothing more of it is sent but what a platform is being handed at this moment; what comes back to
-- the queue does not pass the last gate (mark.sql). Returns how many deliveries were taken back.
create function duly.campaign_pause(workspace text, campaign text) returns bigint
language plpgsql security definer set search_path = duly, pg_temp
as $$
declare
  called duly.campaign := duly.campaign_named(workspace, campaign);
begin
  if called.state not in ('running', 'paused') then
    perform duly.campaign_refuse(called, 'paused', 'running');
  end if;
  update duly.campaign c set state = 'paused', restless = true, moved_at = now()
  where c.id = called.id and c.workspace_id = called.workspace_id
  returning c.* into called;
  return duly.campaign_take_back(called, true);
end $$;

-- Goes on where it was paused. Nobody is sent to who has been.
create function duly.campaign_resume(workspace text, campaign text) returns boolean
language plpgsql security definer set search_path = duly, pg_temp
as $$
declare
  called duly.campaign := duly.campaign_named(workspace, campaign);
begin
  if called.state not in ('running', 'paused') then
    perform duly.campaign_refuse(called, 'resumed', 'paused');
  end if;
  update duly.campaign c set state = 'running', restless = false, moved_at = now()
  where c.id = called.id and c.workspace_id = called.workspace_id;
  return called.state = 'paused';
end $$;

-- Ends it for good and at once: who has not been sent to is not. Returns how many deliveries were taken back.
create function duly.campaign_cancel(workspace text, campaign text) returns bigint
language plpgsql security definer set search_path = duly, pg_temp
as $$
declare
  called duly.campaign := duly.campaign_named(workspace, campaign);
begin
  if called.state = 'done' then
    perform duly.campaign_refuse(called, 'canceled', 'a draft, running or paused');
  elsif called.state <> 'canceled' then
    update duly.campaign c set state = 'canceled', restless = true, moved_at = now(), ended_at = now()
    where c.id = called.id and c.workspace_id = called.workspace_id
    returning c.* into called;
    perform duly.audit_append(duly.caller(), 'canceled', called.workspace_id, called.id::text);
  end if;
  return duly.campaign_take_back(called, true);
end $$;

-- What the waiting rest of a campaign gets. `because`: how it was decided.
create function duly.campaign_pick(workspace text, campaign text, variant text, because jsonb default '{"by": "person"}')
returns boolean
language plpgsql security definer set search_path = duly, pg_temp
as $$
declare
  called duly.campaign := duly.campaign_named(workspace, campaign);
begin
  if not exists (select from duly.campaign_variant v
                 where v.campaign_id = called.id and v.workspace_id = called.workspace_id and v.name = variant) then
    raise exception 'variant: % is none of the campaign''s', coalesce(quote_literal(left(variant, 100)), 'null')
      using errcode = '22023';
  elsif called.state not in ('running', 'paused') then
    perform duly.campaign_refuse(called, 'decided', 'running or paused');
  elsif called.winner is not null and called.winner <> variant then
    raise exception 'variant: % has been picked already', called.winner using errcode = '22023';
  elsif pg_column_size(because) > 16384 then
    raise exception 'because: is larger than 16 KiB' using errcode = '22023';
  end if;
  update duly.campaign c set winner = variant, winner_because = because || jsonb_build_object('at', now())
  where c.id = called.id and c.workspace_id = called.workspace_id and c.winner is null;
  return found;
end $$;

-- Notes what a member did: a click, a callback of the application. `contact`: its external_id or its id. False where it
-- is not in the campaign, or the same was noted before. Raises 22023.
create function duly.campaign_hit(
  workspace text, campaign text, contact text, kind text default 'callback', key text default '', at timestamptz default now()
) returns boolean
language plpgsql security definer set search_path = duly, pg_temp
as $$
#variable_conflict use_variable
declare
  owner duly.workspace := duly.writable_workspace(workspace);
  called uuid;
begin
  select c.id into called from duly.campaign c where c.workspace_id = owner.id and c.name = campaign;
  if called is null then
    raise exception 'campaign: there is no campaign % in %', coalesce(quote_literal(left(campaign, 100)), 'null'), workspace
      using errcode = '22023';
  elsif kind is null or kind !~ '^[a-z][a-z_]{0,39}$' then
    raise exception 'kind: must be 1 to 40 small letters and underscores, such as reply, click or callback' using errcode = '22023';
  elsif key is null or char_length(key) > 255 then
    raise exception 'key: must have at most 255 characters' using errcode = '22023';
  elsif at is null or at > now() + interval '1 hour' or at < now() - interval '60 days' then
    raise exception 'at: must be when it happened: within the last 60 days' using errcode = '22023';
  end if;
  insert into duly.campaign_event (campaign_id, contact_id, kind, key, workspace_id, at)
  select called, m.contact_id, kind, key, owner.id, least(at, now())
  from duly.contact c
  join duly.campaign_member m on m.campaign_id = called and m.contact_id = c.id and m.workspace_id = c.workspace_id
  where c.workspace_id = owner.id
    and (c.external_id = contact
         or contact ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
            and c.id = (case when contact ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then contact end)::uuid)
  limit 1
  on conflict do nothing;
  return found;
end $$;

-- What comes of a campaign's delivery comes of its member: the first reply and click, and the last word on whether it was
-- helpful.
create function duly.note_campaign_event() returns trigger
language plpgsql security definer set search_path = duly, pg_temp
as $$
declare
  came text;
  came_at timestamptz;
begin
  if tg_table_name = 'response' then
    came := new.kind;
    came_at := new.first_at;
  else
    came := case when new.helpful then 'helpful' else 'not_helpful' end;
    came_at := new.at;
  end if;
  insert into duly.campaign_event (campaign_id, contact_id, kind, key, workspace_id, at)
  select m.campaign_id, m.contact_id, came, new.delivery_id::text, m.workspace_id, came_at
  from duly.planned p
  join duly.campaign_member m
    on m.campaign_id = p.source_id and m.contact_id = p.contact_id and m.workspace_id = p.workspace_id
  where p.delivery_id = new.delivery_id and p.workspace_id = new.workspace_id and p.source = 'campaign'
  on conflict do nothing;
  if found and tg_table_name = 'feedback' then
    delete from duly.campaign_event e using duly.planned p
    where p.delivery_id = new.delivery_id and p.workspace_id = new.workspace_id and p.source = 'campaign'
      and e.campaign_id = p.source_id and e.contact_id = p.contact_id and e.workspace_id = p.workspace_id
      and e.kind = case when new.helpful then 'not_helpful' else 'helpful' end and e.key = new.delivery_id::text;
  end if;
  return null;
end $$;
create trigger note_campaign_event after insert on duly.response
  for each row when (new.kind in ('reply', 'click')) execute function duly.note_campaign_event();
create trigger note_campaign_event after insert or update of helpful on duly.feedback
  for each row execute function duly.note_campaign_event();

-- Notes the replies that have come since the last look, of campaigns that are measured still, from whom none is noted yet:
-- of who has been sent something else since. A STOP is none.
create function duly.campaign_replies() returns bigint
language plpgsql security definer set search_path = duly, pg_temp
as $$
declare
  called record;
  noted bigint;
  total bigint := 0;
begin
  for called in
    select c.id, c.workspace_id, c.heard_at, c.measure from duly.campaign c
    where c.heard_at is not null and c.metric = 'reply'
      and (c.ended_at is null or c.heard_at < c.ended_at + c.measure + interval '1 hour')
      and c.heard_at < now() - interval '5 seconds'
    order by c.heard_at
    for update skip locked
  loop
    insert into duly.campaign_event (campaign_id, contact_id, kind, key, workspace_id, at)
    select called.id, m.contact_id, 'reply', i.id::text, i.workspace_id, i.received_at
    from duly.inbound i
    join duly.conversation k on k.id = i.conversation_id and k.workspace_id = i.workspace_id
    join duly.campaign_member m on m.address_key = k.address_key and m.campaign_id = called.id and m.workspace_id = i.workspace_id
    left join duly.delivery_row d on d.id = m.delivery_id and d.workspace_id = m.workspace_id
    where i.workspace_id = called.workspace_id
      -- A message may have been stored by a transaction that ended after our last look.
      and i.received_at > called.heard_at - interval '1 minute'
      and i.opt_out_type is distinct from 'STOP'
      and not exists (select from duly.consent n
                      where n.address_key = k.address_key and n.state = 'withdrawn' and n.proof ->> 'inbound' = i.id::text)
      and i.received_at between coalesce(m.sent_at, d.sent_at) and coalesce(m.sent_at, d.sent_at) + called.measure
      and not exists (select from duly.campaign_event e
                      where e.campaign_id = m.campaign_id and e.contact_id = m.contact_id and e.kind = 'reply'
                        and e.workspace_id = m.workspace_id)
    on conflict do nothing;
    get diagnostics noted = row_count;
    total := total + noted;
    update duly.campaign c set heard_at = now() where c.id = called.id and c.workspace_id = called.workspace_id;
  end loop;
  return total;
end $$;

-- Where each part of a campaign's members stands, at one moment: those that are open are asked of their deliveries.
create function duly.campaign_standing(campaign uuid, workspace integer)
returns table (variant text, tested boolean, place text, reason text, members bigint, last_due timestamptz)
language sql stable
as $$
  select s.variant, s.tested, s.place, case when s.place = 'skipped' then s.reason end, count(*), max(s.due_at)
  from (
    select m.variant, m.tested, m.due_at,
           case when m.state in ('added', 'waiting') and c.state = 'canceled' then 'skipped'
                when m.state in ('added', 'waiting') then 'waiting'
                when m.state in ('sent', 'skipped') then m.state
                when d.state in ('queued', 'leased') then 'queued'
                when d.state in ('sending', 'uncertain') then 'sending'
                when d.state in ('sent', 'delivered', 'read') then 'sent'
                when d.state is null and m.sent_at is not null then 'sent'
                else 'skipped' end as place,
           case when m.state in ('added', 'waiting') then 'canceled'
                when m.state = 'skipped' then m.reason
                else coalesce(d.reason, d.state::text, 'removed') end as reason
    from duly.campaign c
    join duly.campaign_member m on m.campaign_id = c.id and m.workspace_id = c.workspace_id
    left join duly.delivery_row d
      on d.id = m.delivery_id and d.workspace_id = m.workspace_id and m.state in ('queued', 'over')
    where c.id = campaign and c.workspace_id = workspace
  ) s
  group by 1, 2, 3, 4
$$;

-- How far a campaign is, as of one moment: audience = sent + waiting + all that was skipped, by reason. `waiting` holds
-- what is not queued yet (to_come), queued, or being sent.
create function duly.campaign_counted(called duly.campaign) returns jsonb
language sql stable
as $$
  with s as materialized (select * from duly.campaign_standing(called.id, called.workspace_id))
  select jsonb_build_object(
    'campaign', called.name, 'state', called.state, 'gathered', called.gathered_at is not null,
    'audience', coalesce(sum(members), 0), 'sent', coalesce(sum(members) filter (where place = 'sent'), 0),
    'waiting', coalesce(sum(members) filter (where place in ('waiting', 'queued', 'sending')), 0),
    'to_come', coalesce(sum(members) filter (where place = 'waiting'), 0),
    'queued', coalesce(sum(members) filter (where place = 'queued'), 0),
    'sending', coalesce(sum(members) filter (where place = 'sending'), 0),
    'skipped', coalesce((select jsonb_object_agg(r.reason, r.members) from (
      select coalesce(reason, 'unknown') as reason, sum(members) as members from s where place = 'skipped' group by 1) r), '{}'),
    'last_due', max(last_due) filter (where place = 'waiting'),
    'winner', called.winner, 'started_at', called.started_at, 'ended_at', called.ended_at)
  from s
$$;

-- The same for whoever may write to the workspace; of an old campaign what was kept. Raises 22023.
create function duly.campaign_progress(workspace text, campaign text) returns jsonb
language plpgsql stable security definer set search_path = duly, pg_temp
as $$
#variable_conflict use_column
declare
  owner duly.workspace := duly.writable_workspace(workspace);
  called duly.campaign;
begin
  select c.* into called from duly.campaign c where c.workspace_id = owner.id and c.name = campaign_progress.campaign;
  if called.id is null then
    raise exception 'campaign: there is no campaign % in %', coalesce(quote_literal(left(campaign, 100)), 'null'), workspace
      using errcode = '22023';
  end if;
  return coalesce(called.kept -> 'progress', duly.campaign_counted(called));
end $$;

-- What the variants of a campaign have brought: of those sent to, how many did what it is measured by within its time.
-- `tested`: whose variant was drawn; the comparison goes by them. The holdout counts from when it would have been sent to.
create function duly.campaign_results(campaign uuid, workspace integer)
returns table (variant text, tested boolean, members bigint, sent bigint, hits bigint)
language sql stable
as $$
  select s.variant, s.tested, count(*), count(*) filter (where s.sent),
         count(*) filter (where s.since is not null and exists (
           select from duly.campaign_event e
           where e.campaign_id = campaign and e.contact_id = s.contact_id and e.kind = s.metric and e.workspace_id = workspace
             and e.at between s.since and s.since + s.measure))
  from (
    select m.contact_id, m.variant, m.tested, c.metric, c.measure,
           m.state = 'sent' or d.state in ('sent', 'delivered', 'read') as sent,
           case when m.variant = 'holdout' then coalesce(m.due_at, c.started_at)
                when m.state = 'sent' then m.sent_at
                when d.state in ('sent', 'delivered', 'read') then d.sent_at end as since
    from duly.campaign c
    join duly.campaign_member m on m.campaign_id = c.id and m.workspace_id = c.workspace_id
    left join duly.delivery_row d
      on d.id = m.delivery_id and d.workspace_id = m.workspace_id and m.state in ('queued', 'over')
    where c.id = campaign and c.workspace_id = workspace and m.variant is not null and c.kept is null
  ) s
  group by 1, 2
  union all
  select k.* from duly.campaign c, jsonb_to_recordset(c.kept -> 'results')
    as k (variant text, tested boolean, members bigint, sent bigint, hits bigint)
  where c.id = campaign and c.workspace_id = workspace
$$;

-- Who is erased leaves a campaign's counts as they are, and nothing of themselves. (A guest who has become known, and
-- whose row goes for that, still has addresses at this moment.)
create function duly.forget_campaigns() returns trigger
language plpgsql security definer set search_path = duly, pg_temp
as $$
begin
  if not exists (select from duly.address a where a.contact_id = old.id and a.workspace_id = old.workspace_id) then
    update duly.campaign_member m set variables = '{}'
    where m.contact_id = old.id and m.workspace_id = old.workspace_id and m.variables <> '{}';
    update duly.campaign_event e set key = encode(sha256(convert_to(e.key, 'UTF8')), 'hex')
    where e.contact_id = old.id and e.workspace_id = old.workspace_id;
  end if;
  return old;
end $$;
create trigger forget_campaigns after delete on duly.contact for each row execute function duly.forget_campaigns();

-- Of campaigns that ended longer ago than `keep`: empties what was said to members alone or, with `remove`, removes the
-- members and what they did, at most `how_many`; what the campaign came to is kept. Of a person under a legal hold
-- everything stays. Returns how many.
create function duly.remove_old_members(workspaces integer[], keep interval, remove boolean, how_many integer) returns bigint
language plpgsql security definer set search_path = duly, pg_temp
as $$
declare
  old uuid[];
  done bigint := 0;
begin
  perform duly.check_keep(keep);
  old := array(select c.id from duly.campaign c
               where c.ended_at < now() - keep and c.workspace_id = any (workspaces) and not c.restless);
  if not remove then
    update duly.campaign_member m set variables = '{}' where m.ctid in (
      select o.ctid from duly.campaign_member o
      where o.campaign_id = any (old) and o.variables <> '{}' and duly.held_for(o.workspace_id, array(
        select a.address_key from duly.address a where a.contact_id = o.contact_id and a.workspace_id = o.workspace_id
        union all select o.address_key where o.address_key is not null)) is null
      limit how_many for update skip locked);
    get diagnostics done = row_count;
    return done;
  end if;
  update duly.campaign c
  set kept = jsonb_build_object(
    'progress', duly.campaign_counted(c),
    'results', (select coalesce(jsonb_agg(to_jsonb(r)), '[]') from duly.campaign_results(c.id, c.workspace_id) r))
  where c.id = any (old) and c.kept is null;
  with gone as (
    delete from duly.campaign_member m where m.ctid in (
      select o.ctid from duly.campaign_member o
      where o.campaign_id = any (old) and duly.held_for(o.workspace_id, array(
        select a.address_key from duly.address a where a.contact_id = o.contact_id and a.workspace_id = o.workspace_id
        union all select o.address_key where o.address_key is not null)) is null
      limit how_many for update skip locked)
    returning m.campaign_id, m.contact_id, m.workspace_id
  ), events as (
    delete from duly.campaign_event e using gone g
    where e.campaign_id = g.campaign_id and e.contact_id = g.contact_id and e.workspace_id = g.workspace_id
  )
  select count(*) into done from gone;
  return done;
end $$;

select duly.protect('{campaign,campaign_variant,campaign_member,campaign_event}');

revoke all on all functions in schema duly from public;
grant execute on function
  duly.campaign_add(text, text, jsonb), duly.campaign_start(text, text), duly.campaign_pause(text, text),
  duly.campaign_resume(text, text), duly.campaign_cancel(text, text), duly.campaign_progress(text, text),
  duly.campaign_hit(text, text, text, text, text, timestamptz)
  to duly_producer, duly_daemon;
grant execute on function
  duly.campaign_pick(text, text, text, jsonb), duly.campaign_take_back(duly.campaign, boolean), duly.campaign_replies(),
  duly.campaign_standing(uuid, integer), duly.campaign_results(uuid, integer),
  duly.remove_old_members(integer[], interval, boolean, integer)
  to duly_daemon;
grant select, insert, update on duly.campaign, duly.campaign_variant, duly.campaign_member to duly_daemon;
grant select on duly.campaign_event to duly_daemon;
