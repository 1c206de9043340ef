-- Templates, and who is written to when: preferences, goals, series, and what was planned of them.

-- One version of a named template. What has been used is never changed: a new version is made.
create table duly.template (
  id uuid not null,
  workspace_id integer not null,
  name text not null check (name ~ '^[a-z][a-z0-9_.-]{0,79}$'),
  version integer not null check (version > 0),
  -- name → {"type": "text" | "number" | "date" | "time" | "url" | "flag", "default": …, "example": …}; without a default
  -- a variable must be given. A dotted name is also found in an object of that name.
  variables jsonb not null default '{}' check (pg_column_size(variables) <= 32768),
  smart_replacement boolean not null default false, -- typographic characters that would double an SMS's segments
  state text not null default 'live' check (state in ('draft', 'live', 'retired')),
  used_at timestamptz,
  created_at timestamptz not null default now(),
  primary key (id, workspace_id)
);
create unique index template_name on duly.template (workspace_id, name, version);

-- The texts of a template. An empty channel, language or style: for each that has none of its own. Several with another
-- number only: none is said to a person again before all have been.
create table duly.template_text (
  id uuid not null,
  workspace_id integer not null,
  template_id uuid not null,
  channel text not null default '',
  language text not null default '' check (char_length(language) <= 35), -- in small letters
  style text not null default '' check (style ~ '^[a-z0-9_-]{0,40}$'),
  number smallint not null default 1 check (number > 0),
  body text not null check (char_length(body) <= 100000),
  subject text check (char_length(subject) <= 1000),
  html text check (char_length(html) <= 400000),
  buttons jsonb not null default '[]',     -- [{"label", "url" | "reply"}], texts with variables
  attachments jsonb not null default '[]', -- [{"url", "type", "name"}], texts with variables
  -- Of each of these by its name: what stands as it is, and {"name": …} for a variable. Null: it has conditions, and
  -- only the daemon renders it.
  parts jsonb,
  primary key (id, workspace_id)
);
create unique index template_text_place
  on duly.template_text (template_id, channel, language, style, number, workspace_id);

-- A delivery pins the version, as name@version, and the very text that it was made from.
alter table duly.message add column text_id uuid;

create function duly.refuse_used_template() returns trigger
language plpgsql
as $$
declare
  used duly.template;
begin
  if tg_table_name = 'template' then
    used := old;
    if tg_op = 'UPDATE' and to_jsonb(new) - '{state,used_at}'::text[] = to_jsonb(old) - '{state,used_at}'::text[] then
      return new;
    end if;
  elsif tg_op = 'INSERT' then
    select t.* into used from duly.template t where t.id = new.template_id and t.workspace_id = new.workspace_id;
  else
    select t.* into used from duly.template t where t.id = old.template_id and t.workspace_id = old.workspace_id;
  end if;
  if used.used_at is not null then
    raise exception 'template: version % of % has been used and is never changed; make a new version', used.version, used.name
      using errcode = '55000';
  end if;
  return case tg_op when 'DELETE' then old else new end;
end $$;
create trigger used before update or delete on duly.template for each row execute function duly.refuse_used_template();
create trigger used before insert or update or delete on duly.template_text
  for each row execute function duly.refuse_used_template();

-- A variable's value: by its whole name, else inside the objects that the name's parts lead through.
create function duly.variable(variables jsonb, name text) returns jsonb
language sql immutable parallel safe
as $$ select nullif(coalesce(variables -> name, variables #> string_to_array(name, '.')), 'null') $$;

-- What is wrong with a value for a variable of this type; null where nothing is.
create function duly.value_problem(type text, value jsonb) returns text
language sql immutable parallel safe
as $$
  select case
    when type = 'number' and (jsonb_typeof(value) <> 'number' or octet_length(value #>> '{}') > 40) then 'must be a number'
    when type = 'flag' and jsonb_typeof(value) <> 'boolean' then 'must be true or false'
    when type not in ('number', 'flag') and jsonb_typeof(value) <> 'string' then 'must be a text'
    when type not in ('number', 'flag') and value #>> '{}' ~ '^[[:space:]]*$' then 'is empty'
    when type = 'url' and value #>> '{}' !~ '^https?://[^[:space:]<>"]+$' then 'must be an http or https URL'
    when type = 'date' and value #>> '{}' !~ '^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$' then
      'must be a date such as 2026-01-31'
    when type = 'time' and value #>> '{}' !~ '^([01][0-9]|2[0-3]):[0-5][0-9]$' then 'must be a time such as 18:00'
  end
$$;

-- The values of a template's variables as texts, by name, or what is wrong with them.
create function duly.template_values(template duly.template, variables jsonb, out texts jsonb, out error text)
language plpgsql immutable parallel safe
as $$
declare
  name text;
  declared jsonb;
  value jsonb;
begin
  texts := '{}';
  for name, declared in select v.key, v.value from jsonb_each(template.variables) v loop
    value := coalesce(duly.variable(variables, name), nullif(declared -> 'default', 'null'));
    if value is null then
      error := format('variables.%s: is missing; template %s needs it', name, template.name);
      return;
    end if;
    error := duly.value_problem(declared ->> 'type', value);
    if error is not null then
      error := format('variables.%s: %s', name, error);
      return;
    end if;
    texts := texts || jsonb_build_object(name, case jsonb_typeof(value)
      when 'number' then trim_scale((value #>> '{}')::numeric)::text else value #>> '{}' end);
  end loop;
end $$;

-- Puts texts into the parts of one text.
create function duly.filled(parts jsonb, texts jsonb, as_html boolean default false) returns text
language sql immutable parallel safe
as $$
  select string_agg(case
    when jsonb_typeof(p.part) = 'string' then p.part #>> '{}'
    when as_html then replace(replace(replace(replace(replace(texts ->> (p.part ->> 'name'),
      '&', '&amp;'), '<', '&lt;'), '>', '&gt;'), '"', '&#34;'), chr(39), '&#39;')
    else texts ->> (p.part ->> 'name') end, '' order by p.n)
  from jsonb_array_elements(nullif(parts, 'null')) with ordinality p (part, n)
$$;

-- The text of a template for a channel, language and style: what is made for them goes before what is made for each,
-- the channel before the language before the style; pt stands in for pt-BR. The first of several.
create function duly.template_text_for(template uuid, workspace integer, channel text, language text, style text)
returns duly.template_text
language sql stable
as $$
  select t from duly.template_text t
  where t.template_id = template and t.workspace_id = workspace
    and t.channel in (template_text_for.channel, '')
    and t.language in ('', lower(template_text_for.language), split_part(lower(template_text_for.language), '-', 1))
    and t.style in (template_text_for.style, '')
  order by t.channel desc, length(t.language) desc, t.style desc, t.number limit 1
$$;

-- A template's content for one delivery: the body, what else there is of it (subject, html), and from which text; or
-- what is wrong. `template`: its name, for the newest live version, or name@version.
create function duly.rendered(
  workspace integer, template text, channel text, "to" text, variables jsonb, metadata jsonb,
  out text_id uuid, out pinned text, out body text, out content jsonb, out error text
)
language plpgsql
as $$
#variable_conflict use_variable
declare
  wanted integer := substring(template from '@([0-9]{1,9})$')::integer;
  called text := regexp_replace(template, '@[0-9]{1,9}$', '');
  found_template duly.template;
  chosen duly.template_text;
  texts jsonb;
begin
  select t.* into found_template from duly.template t
  where t.workspace_id = workspace and t.name = called
    and case when wanted is null then t.state = 'live' else t.version = wanted and t.state <> 'draft' end
  order by t.version desc limit 1;
  if found_template.id is null then
    error := format('template: %L is no live template of this workspace', left(template, 100));
    return;
  end if;
  chosen := duly.template_text_for(found_template.id, workspace, channel, coalesce(metadata ->> 'language', ''),
                                   coalesce(metadata ->> 'style', ''));
  if chosen.id is null then
    error := format('template: %s has no text for %s', called, channel);
    return;
  elsif chosen.parts is null then
    error := format('template: %s has conditions, which only the daemon renders: queue it over HTTP or with duly send', called);
    return;
  end if;
  select v.texts, v.error into texts, error from duly.template_values(found_template, variables) v;
  if error is not null then return; end if;
  text_id := chosen.id;
  pinned := called || '@' || found_template.version;
  body := duly.filled(chosen.parts -> 'body', texts);
  content := jsonb_strip_nulls(jsonb_build_object(
    'subject', duly.filled(chosen.parts -> 'subject', texts), 'html', duly.filled(chosen.parts -> 'html', texts, true)));
  if found_template.used_at is null then
    update duly.template t set used_at = now()
    where t.id = found_template.id and t.workspace_id = workspace and t.used_at is null;
  end if;
end $$;

-- What is wrong with a delivery, as before; a template is looked at where it is rendered.
create or replace function duly.problem(
  channel text, "to" text, body text, due_at timestamptz, priority integer, idempotency_key text,
  category text, expires_at timestamptz, template text, variables jsonb, metadata jsonb
) returns text
language sql stable parallel safe
as $$
  select case
    when channel is null or channel not in ('sms', 'whatsapp', 'rcs', 'telegram', 'email', 'push', 'in_app') then
      format('channel: %s is none of sms, whatsapp, rcs, telegram, email, push, in_app', coalesce(quote_literal(left(channel, 40)), 'null'))
    when "to" is null or "to" = '' then 'to: is missing'
    when channel in ('sms', 'whatsapp', 'rcs')
         and ("to" !~ '^\+[1-9][0-9]+$' or char_length("to") not between 8 and 16) then
      format('to: %L is not an E.164 number such as +14155550123', left("to", 40))
    when channel = 'email' and "to" !~ '^[^@[:space:][:cntrl:]]{1,64}@[^@[:space:][:cntrl:]]{1,255}$' then
      format('to: %L is not a mail address', left("to", 40))
    when channel not in ('sms', 'whatsapp', 'rcs', 'email') and (char_length("to") > 1000 or "to" ~ '[[:cntrl:]]') then
      'to: is longer than 1000 characters or has control characters'
    when metadata -> 'media_urls' is not null and duly.media_problem(channel, metadata -> 'media_urls') is not null then
      duly.media_problem(channel, metadata -> 'media_urls')
    when body is null or (body ~ '^[[:space:]]*$' and metadata -> 'media_urls' is null) then 'body: is empty'
    when octet_length(body) > 1600 and char_length(body) > duly.longest_body(channel) then
      format('body: has %s characters; %s takes at most %s', char_length(body), channel, duly.longest_body(channel))
    when due_at is null or due_at < '2000-01-01Z' or due_at > now() + interval '5 years' then
      'due_at: must be a time between the year 2000 and five years from now'
    when expires_at is not null and not isfinite(expires_at) then
      'expires_at: must be a finite time, or null for never'
    when expires_at <= due_at then 'expires_at: must be later than due_at'
    when expires_at <= now() then 'expires_at: has passed already'
    when priority is null or priority not between 1 and 3 then
      format('priority: %s is none of 1 (high), 2 (normal), 3 (bulk)', coalesce(priority::text, 'null'))
    when idempotency_key is not null and char_length(idempotency_key) not between 1 and 255 then
      'idempotency_key: must have 1 to 255 characters'
    when category is null or category !~ '^[a-z][a-z0-9_]*$' or char_length(category) > 40 then
      'category: must be 1 to 40 small letters, digits and underscores, such as transactional'
    when variables is null or jsonb_typeof(variables) <> 'object' then 'variables: must be a JSON object'
    when metadata is null or jsonb_typeof(metadata) <> 'object' then 'metadata: must be a JSON object'
    when pg_column_size(variables) + pg_column_size(metadata) > 65536 then
      'metadata: variables and metadata together are larger than 64 KiB'
  end
$$;

-- The one place that queues one: a new delivery's id, the id that this idempotency key has already, or an error.
-- As before, and from a template: its newest text, or with `text_id` the one that the daemon has rendered as `body`.
drop function duly.enqueue_checked(
  duly.workspace, text, text, text, timestamptz, integer, text, text, timestamptz, text, jsonb, jsonb);
create function duly.enqueue_checked(
  workspace duly.workspace, channel text, "to" text, body text, due_at timestamptz, priority integer,
  idempotency_key text, category text, expires_at timestamptz, template text, variables jsonb, metadata jsonb,
  text_id uuid default null, out id uuid, out error text
)
language plpgsql
as $$
#variable_conflict use_column
declare
  new_id uuid;
  hash bytea;
  digest bytea;
  other record;
  plain text := body;
  asked jsonb := metadata; -- as it was given, which a key is compared by
  pinned text := template;
  key uuid;
  stop text;
  seal smallint := case when workspace.seal then 0 end;
begin
  if template is not null and text_id is null then
    if body is not null then
      error := 'template: has the text; leave out body, or the template';
      return;
    end if;
    select r.error, r.text_id, r.pinned, r.body, asked || r.content into error, text_id, pinned, body, metadata
    from duly.rendered(workspace.id, template, channel, "to", coalesce(variables, '{}'), coalesce(metadata, '{}')) r;
    if error is not null then return; end if;
  end if;
  if workspace.footers is not null then
    body := duly.with_footer(workspace, category, body, metadata ->> 'language');
  end if;
  error := coalesce(
    duly.problem(channel, "to", body, due_at, priority, idempotency_key, category, expires_at,
                 template, variables, metadata),
    duly.category_problem(category));
  if error is not null then return; end if;
  select k.address_key, s.reason into key, stop
  from (select duly.address_hash(inner_pad, outer_pad, channel, "to") as address_key from duly.hash_key offset 0) k
  left join duly.suppression s
    on s.address_key = k.address_key and s.workspace_id in (workspace.id, 0)
       and s.channel in ('', enqueue_checked.channel) and s.category in ('', enqueue_checked.category) and s.account = ''
  limit 1;

  new_id := duly.new_id();
  if idempotency_key is null and workspace.duplicate_window is null then
    with message as (
      insert into duly.message (id, workspace_id, body, category, template, text_id, variables, metadata, sealed_with)
      values (new_id, workspace.id, body, category, pinned, text_id, variables, metadata, seal)
    )
    insert into duly.delivery_row
      (id, workspace_id, message_id, channel, "to", address_key, priority, due_at, expires_at, segments, state, reason, detail,
       sealed_with)
    values (new_id, workspace.id, new_id, channel::duly.channel, "to", key, priority, due_at, expires_at,
            case when channel <> 'sms' or octet_length(body) <= 70 then 1 else duly.segments(body) end,
            (case when stop is null then 'queued' else 'skipped' end)::duly.state, stop,
            case when stop is not null then 'suppression: found when it was queued' end, seal);
    if stop is null then
      perform duly.tell(workspace.id, channel, priority, due_at);
    else
      perform duly.forget_erased(workspace.id, new_id, new_id);
    end if;
    id := new_id;
    return;
  end if;

  hash := sha256(convert_to(
    jsonb_build_array(channel, "to", plain, category, template, variables, asked)::text, 'UTF8'));
  if workspace.seal then
    hash := duly.keyed(hash);
  end if;

  insert into duly.message as m
    (id, workspace_id, body, category, template, text_id, variables, metadata, idempotency_key, content_hash,
     sealed_with)
  values (new_id, workspace.id, body, category, pinned, text_id, variables, metadata, idempotency_key, hash, seal)
  on conflict (workspace_id, idempotency_key) where idempotency_key is not null do nothing;
  if not found then
    select m.id, m.content_hash into other from duly.message m
    where m.workspace_id = workspace.id and m.idempotency_key = enqueue_checked.idempotency_key;
    if other.content_hash is null or other.content_hash = hash then -- null: its text has been removed since
      id := other.id;
    else
      error := 'idempotency_key: was already used for a message with other content';
    end if;
    return;
  end if;

  if workspace.duplicate_window is not null then
    digest := sha256(convert_to(jsonb_build_array(channel, "to", coalesce(plain, body))::text, 'UTF8'));
    if workspace.seal then
      digest := duly.keyed(digest);
    end if;
    insert into duly.recent_content as r (workspace_id, digest, delivery_id, at)
    values (workspace.id, digest, new_id, now())
    on conflict (workspace_id, digest) do update set at = now(), delivery_id = excluded.delivery_id
      where r.at <= now() - workspace.duplicate_window;
    if not found then
      delete from duly.message m where m.id = new_id and m.workspace_id = workspace.id;
      error := format('body: equal content went to this address less than %s ago', workspace.duplicate_window);
      return;
    end if;
  end if;

  insert into duly.delivery_row
    (id, workspace_id, message_id, channel, "to", address_key, priority, due_at, expires_at, segments, state, reason, detail,
       sealed_with)
  values (new_id, workspace.id, new_id, channel::duly.channel, "to", key, priority, due_at, expires_at,
          case when channel = 'sms' then duly.segments(body) else 1 end,
          (case when stop is null then 'queued' else 'skipped' end)::duly.state, stop,
            case when stop is not null then 'suppression: found when it was queued' end, seal);

  if stop is null then
    perform duly.tell(workspace.id, channel, priority, due_at);
  else
    perform duly.forget_erased(workspace.id, new_id, new_id);
  end if;
  id := new_id;
end $$;

-- How somebody wants to be written to about their goals. The zone and the most a week stand with the contact.
create table duly.preference (
  contact_id uuid not null,
  workspace_id integer not null,
  enabled boolean not null default true,
  send_day smallint not null default 7 check (send_day between 1 and 7), -- ISO 8601: 7 is Sunday
  send_time time not null default '18:00' check (send_time < '24:00'),
  on_goal_met boolean not null default false,
  on_partial_goal boolean not null default true,
  style text not null default 'supportive' check (style ~ '^[a-z0-9_-]{1,40}$'),
  channels text[] not null default '{}', -- in the order they are tried; empty: sms, then what else there is
  priority smallint check (priority between 1 and 3), -- null: by kind; a coach's is 1
  updated_at timestamptz not null default now(),
  primary key (contact_id, workspace_id)
);
create index preference_workspace on duly.preference (workspace_id, contact_id) where enabled;

-- What somebody wants to reach in each day, week (from Monday) or month of their own zone.
create table duly.goal (
  id uuid not null,
  workspace_id integer not null,
  contact_id uuid not null,
  name text not null check (char_length(name) between 1 and 200),
  unit text not null default '' check (char_length(unit) <= 40),
  target numeric not null check (target > 0 and target < 1e12),
  period text not null default 'week' check (period in ('day', 'week', 'month')),
  begins_on date,
  ends_on date,
  created_at timestamptz not null default now(),
  primary key (id, workspace_id)
);
create unique index goal_contact on duly.goal (contact_id, name, workspace_id);

create table duly.progress (
  id bigint generated always as identity,
  workspace_id integer not null,
  goal_id uuid not null,
  amount numeric not null check (abs(amount) < 1e12),
  at timestamptz not null default now(),
  key text check (char_length(key) between 1 and 255), -- the same key of a goal counts once
  recorded_at timestamptz not null default now(),
  primary key (id, workspace_id)
);
create index progress_goal on duly.progress (goal_id, at);
create unique index progress_key on duly.progress (goal_id, key, workspace_id) where key is not null;

-- What recurs: check-ins on goals, at each person's own day and time, or reminders by a rule of their own.
create table duly.series (
  id uuid not null,
  workspace_id integer not null,
  name text not null check (name ~ '^[a-z][a-z0-9_.-]{0,79}$'),
  kind text not null check (kind in ('check_in', 'reminder')),
  templates jsonb not null, -- check_in: {"met", "partial", "missed"} → a template's name; reminder: {"reminder": name}
  category text,            -- null: by kind: congratulatory, accountability; of a reminder transactional
  priority smallint check (priority between 1 and 3),
  channels text[] not null default '{}',
  rrule text check (char_length(rrule) <= 1000), -- RFC 5545, without DTSTART; null: once, or by people's preferences
  begins_at timestamp,      -- on the wall clock of the recipient, or of `zone`
  zone text,                -- null: the recipient's own
  exceptions timestamp[] not null default '{}',
  catch_up text not null default 'skip' check (catch_up in ('skip', 'latest', 'all')), -- what was missed while nobody planned
  earlier interval not null default '0' check (earlier between '0' and '7 days'),      -- how far each may be moved
  later interval not null default '4 hours' check (later between '0' and '7 days'),
  enabled boolean not null default true,
  created_at timestamptz not null default now(),
  primary key (id, workspace_id)
);
create unique index series_name on duly.series (workspace_id, name);

-- Who a series of reminders is for. Of check-ins it is everybody with preferences.
create table duly.series_member (
  series_id uuid not null,
  workspace_id integer not null,
  contact_id uuid not null,
  variables jsonb not null default '{}' check (pg_column_size(variables) <= 16384),
  begins_at timestamp, -- instead of the series'
  ends_on date,
  primary key (series_id, contact_id, workspace_id)
);

-- How far the planning of a series for a day has come: whoever plans holds the row, writes what it has planned of the
-- next contacts and moves on to the last of them, in one transaction.
create table duly.plan_run (
  series_id uuid not null,
  on_date date not null,
  workspace_id integer not null,
  last_contact uuid,
  planned integer not null default 0,
  skipped integer not null default 0,
  began_at timestamptz not null default now(),
  moved_at timestamptz not null default now(),
  done_at timestamptz,
  primary key (series_id, on_date, workspace_id)
);
create index plan_run_open on duly.plan_run (on_date) where done_at is null;

-- What was decided for a person and one occurrence of a series or campaign, each once: its delivery, or why there is none.
create table duly.planned (
  source_id uuid not null,       -- the series or campaign
  contact_id uuid not null,
  occurrence timestamp not null, -- on the wall clock that it was planned by
  workspace_id integer not null,
  source text not null check (source in ('check_in', 'reminder', 'campaign')),
  delivery_id uuid,
  reason text,                   -- why there is no delivery
  kind text not null default '', -- met, partial, missed, reminder; of a campaign its variant
  style text not null default '',
  text_id uuid,
  wished_at timestamptz,         -- when it was wanted; it may go from `earliest` to `latest`
  earliest timestamptz,
  latest timestamptz,
  spread_at timestamptz,         -- when its time was weighed against all others'; null: not yet
  because jsonb not null default '{}',
  at timestamptz not null default now(),
  primary key (source_id, contact_id, occurrence, workspace_id)
);
create index planned_delivery on duly.planned (delivery_id) where delivery_id is not null;
create index planned_contact on duly.planned (contact_id, text_id);
create index planned_unspread on duly.planned (wished_at) where spread_at is null and delivery_id is not null;

-- Who is erased has no preferences, goals or plans either.
create function duly.forget_plans() returns trigger
language plpgsql security definer set search_path = duly, pg_temp
as $$
begin
  delete from duly.preference p where p.contact_id = old.id and p.workspace_id = old.workspace_id;
  delete from duly.progress p
  where p.workspace_id = old.workspace_id and p.goal_id in (
    select g.id from duly.goal g where g.contact_id = old.id and g.workspace_id = old.workspace_id);
  delete from duly.goal g where g.contact_id = old.id and g.workspace_id = old.workspace_id;
  delete from duly.series_member m where m.contact_id = old.id and m.workspace_id = old.workspace_id;
  delete from duly.planned p where p.contact_id = old.id and p.workspace_id = old.workspace_id;
  return old;
end $$;
create trigger forget_plans after delete on duly.contact for each row execute function duly.forget_plans();

-- Queues what the daemon has planned and rendered, in the caller's transaction: a JSON array of objects with `source_id`,
-- `source`, `contact`, `occurrence`, and either `reason` (nothing is sent) or `channel`, `to`, `body`, `category`,
-- `priority`, `due_at`, `earliest`, `latest`, `expires_at`, `template` (name@version), `text_id`, `variables`, `metadata`;
-- besides `kind`, `style`, `because`. One row per item, by position from 1: its delivery, or what is wrong with it. What
-- was decided before stays, and is answered as `repeated`. An item that is wrong is noted as one without a delivery.
create function duly.enqueue_planned(workspace integer, items jsonb)
returns table ("position" integer, id uuid, repeated boolean, error text)
language plpgsql security definer set search_path = duly, pg_temp
as $$
#variable_conflict use_variable
declare
  found_workspace duly.workspace;
  item jsonb;
  result record;
begin
  select w.* into strict found_workspace from duly.workspace w where w.id = workspace;
  "position" := 0;
  for item in select i.value from jsonb_array_elements(items) i loop
    "position" := "position" + 1;
    id := null;
    error := null;
    insert into duly.planned as p
      (source_id, contact_id, occurrence, workspace_id, source, reason, kind, style, text_id, wished_at, earliest, latest, because)
    values ((item ->> 'source_id')::uuid, (item ->> 'contact')::uuid, (item ->> 'occurrence')::timestamp, workspace,
            item ->> 'source', item ->> 'reason', coalesce(item ->> 'kind', ''), coalesce(item ->> 'style', ''),
            (item ->> 'text_id')::uuid, (item ->> 'due_at')::timestamptz, (item ->> 'earliest')::timestamptz,
            (item ->> 'latest')::timestamptz, coalesce(item -> 'because', '{}'))
    on conflict do nothing;
    repeated := not found;
    if repeated then
      select p.delivery_id, p.reason into id, error from duly.planned p
      where p.source_id = (item ->> 'source_id')::uuid and p.contact_id = (item ->> 'contact')::uuid
        and p.occurrence = (item ->> 'occurrence')::timestamp and p.workspace_id = workspace;
    elsif item ->> 'reason' is null then
      result := duly.enqueue_checked(
        found_workspace, item ->> 'channel', item ->> 'to', item ->> 'body', (item ->> 'due_at')::timestamptz,
        coalesce((item ->> 'priority')::integer, 2), null, coalesce(item ->> 'category', 'transactional'),
        (item ->> 'expires_at')::timestamptz, item ->> 'template',
        coalesce(nullif(item -> 'variables', 'null'), '{}'), coalesce(nullif(item -> 'metadata', 'null'), '{}'),
        (item ->> 'text_id')::uuid);
      id := result.id;
      error := result.error;
      update duly.planned p set delivery_id = result.id, reason = case when result.id is null then left(result.error, 200) end
      where p.source_id = (item ->> 'source_id')::uuid and p.contact_id = (item ->> 'contact')::uuid
        and p.occurrence = (item ->> 'occurrence')::timestamp and p.workspace_id = workspace;
    end if;
    return next;
  end loop;
end $$;

-- Row-level security for tables that have come after 0014, as there.
create function duly.protect(tables text[]) returns void
language plpgsql
as $$
declare
  t text;
begin
  foreach t in array tables loop
    execute format('alter table duly.%I enable row level security', t);
    execute format('create policy daemon on duly.%I to duly_daemon using (true) with check (true)', t);
    execute format(
      'create policy own on duly.%I for select to duly_producer, duly_reader
       using (workspace_id = any (array(select duly.visible_workspaces())))', t);
  end loop;
end $$;
select duly.protect('{template,template_text,preference,goal,progress,series,series_member,plan_run,planned}');

revoke all on all functions in schema duly from public;
grant execute on function duly.enqueue_planned(integer, jsonb) to duly_daemon;
grant select on duly.template, duly.template_text, duly.preference, duly.goal, duly.progress, duly.series,
  duly.series_member, duly.plan_run, duly.planned to duly_daemon;
grant insert, update on duly.template, duly.template_text, duly.plan_run, duly.planned to duly_daemon;
