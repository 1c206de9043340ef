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
  personal boolean not null default true, -- it asks for what is known of the recipient
  digest bytea not null default '', -- of all that it says: the same again is no new version
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
  -- Of each of these by its name: what stands as it is, and {"name": …} for a variable, with "as": "url" where it is
  -- percent-encoded. Where channels differ: {"channels": {channel: such parts, or {"error": why it cannot say it}}}.
  -- Null: it has conditions, and only the daemon renders it.
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
as $$ select coalesce(nullif(variables -> name, 'null'), nullif(variables #> string_to_array(name, '.'), 'null')) $$;

-- Whether a value says nothing: none, or a text without a letter. A default takes its place. The characters are named,
-- as Postgres and the daemon must take the same ones for blank.
create function duly.is_blank(value jsonb) returns boolean
language sql immutable parallel safe
as $$
  select value is null or jsonb_typeof(value) = 'string'
    and value #>> '{}' ~ '^[\u0009-\u000d\u0020\u0085\u00a0\u1680\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufeff]*$'
$$;

-- What is wrong with a value for a variable of this type; null where nothing is.
create function duly.value_problem(type text, value jsonb) returns text
language sql immutable parallel safe
as $$
  select case
    when type = 'number' and jsonb_typeof(value) <> 'number' then 'must be a number'
    when type = 'number' and char_length(trim_scale((value #>> '{}')::numeric)::text) > 40 then 'must be a number'
    when type = 'flag' and jsonb_typeof(value) <> 'boolean' then 'must be true or false'
    when type not in ('number', 'flag') and jsonb_typeof(value) <> 'string' then 'must be a text'
    when type not in ('number', 'flag') and duly.is_blank(value) then 'is empty'
    when type = 'url' and value #>> '{}' !~
         '^https?://[^\u0001-\u0020\u007f\u0085\u00a0\u1680\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufeff<>"]+$' then
      'must be an http or https URL'
    when type = 'date' and value #>> '{}' !~ '^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$' then
      'must be a date such as 2026-01-31'
    when type = 'time' and value #>> '{}' !~ '^([01][0-9]|2[0-3]):[0-5][0-9]$' then 'must be a time such as 18:00'
  end
$$;

-- The values of a template's variables as texts, by name, or what is wrong with them: what is given, else what is known
-- of the person, else the default.
create function duly.template_values(
  template duly.template, variables jsonb, person jsonb, out texts jsonb, out error text
)
language plpgsql immutable parallel safe
as $$
declare
  name text;
  declared jsonb;
  value jsonb;
  known jsonb;
begin
  texts := '{}';
  for name, declared in select v.key, v.value from jsonb_each(template.variables) v loop
    value := duly.variable(variables, name);
    if duly.is_blank(value) then
      known := duly.variable(person, name);
      if duly.is_blank(known) then
        known := nullif(declared -> 'default', 'null');
      end if;
      value := case when duly.is_blank(known) then value else known end;
    end if;
    if duly.is_blank(value) and declared -> 'default' = '""' then
      texts := texts || jsonb_build_object(name, '');
      continue;
    elsif value is null then
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

-- A text percent-encoded, but for letters, digits and - . _ ~ (RFC 3986).
create function duly.in_url(value text) returns text
language sql immutable parallel safe
as $$
  select case when value ~ '^[A-Za-z0-9_.~-]*$' then value else (
    select string_agg(
      case when c.letter ~ '^[A-Za-z0-9_.~-]$' then c.letter
           else upper(regexp_replace(encode(convert_to(c.letter, 'UTF8'), 'hex'), '(..)', '%\1', 'g')) end, '' order by c.n)
    from regexp_split_to_table(value, '') with ordinality c (letter, n)) end
$$;

-- Puts texts into the parts of one text.
create function duly.filled(parts jsonb, texts jsonb, as_html boolean default false) returns text
language sql immutable parallel safe
as $$
  select coalesce(string_agg(case
    when jsonb_typeof(p.part) = 'string' then p.part #>> '{}'
    when p.part ? 'as' then duly.in_url(texts ->> (p.part ->> 'name'))
    when as_html then replace(replace(replace(replace(replace(texts ->> (p.part ->> 'name'),
      '&', '&amp;'), '<', '&lt;'), '>', '&gt;'), '"', '&#34;'), chr(39), '&#39;')
    else texts ->> (p.part ->> 'name') end, '' order by p.n), case when parts = '[]' then '' end)
  from jsonb_array_elements(nullif(parts, 'null')) with ordinality p (part, n)
$$;

-- Buttons or attachments with texts put in.
create function duly.filled_items(items jsonb, texts jsonb) returns jsonb
language sql immutable parallel safe
as $$
  select jsonb_agg((select jsonb_object_agg(f.key, duly.filled(f.value, texts)) from jsonb_each(i.item) f) order by i.n)
  from jsonb_array_elements(items) with ordinality i (item, n)
$$;

-- Typographic characters replaced by those of the GSM 7-bit alphabet if then all of the text is in it; else as it is. The
-- same as daemon/content/smart.py; a test holds them together.
create function duly.smart_replaced(body text) returns text
language sql immutable parallel safe
as $$
  select case
    when body ~ '^[\n\r\u0020-\u005f\u0061-\u007e]*$' then body
    when f.found ~ E'^[@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !"#¤%&\'()*+,./0-9:;<=>?¡A-ZÄÖÑÜ§¿a-zäöñüà^{}\\\\[~\\]|€\f-]*$' then f.found
    else body end
  from (select translate(replace(replace(body, '…', '...'), '‼', '!!'),
    E'«»“”„‟″‶❝❞〝〞＂ʺˮ‘’‚‛′‵❛❜＇ʹʻʼʽˈˊˋ`´‹›‐‑‒–—―−⁃﹘﹣－•‣·∙\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u00a0\u1680\u202f\u205f\u3000\u0009\u2028\u2029\u0085⁄˜ˆ\u200b\u200c\u200d\u2060\ufeff\u00ad',
    E'"""""""""""""""''''''''''''''''''''''''''''''''''''''''-----------****                 \u000a\u000a\u000a/~^') as found) f
$$;

-- What is known of who has an address, by the names that templates have for it: FirstName, Name, contact.…; besides the
-- locale and the style that the person prefers. Null: nobody is known there.
create function duly.person_at(workspace integer, channel text, "to" text) returns jsonb
language plpgsql stable security definer set search_path = duly, pg_temp
as $$
#variable_conflict use_variable
declare
  found jsonb;
begin
  select jsonb_strip_nulls(jsonb_build_object(
    'FirstName', c.first_name, 'Name', coalesce(c.name, c.first_name), 'locale', c.locale, 'style', p.style,
    'contact', c.attributes || jsonb_build_object(
      'first_name', c.first_name, 'name', c.name, 'locale', c.locale, 'time_zone', c.time_zone, 'external_id', c.external_id)))
  into found
  from duly.address a
  join duly.contact c on c.id = a.contact_id and c.workspace_id = a.workspace_id
  left join duly.preference p on p.contact_id = c.id and p.workspace_id = c.workspace_id
  where a.workspace_id = workspace and a.address_key = (
    select duly.address_hash(k.inner_pad, k.outer_pad, channel, "to") from duly.hash_key k)
  order by (a.channel = channel) desc limit 1;
  return found;
end $$;

-- When each of some texts last went to an address.
create function duly.texts_said(workspace integer, key uuid, texts uuid[]) returns table (text_id uuid, last timestamptz)
language sql stable
as $$
  select m.text_id, max(d.due_at)
  from duly.deliveries_to(workspace, array[key]) as t (id)
  join duly.delivery_row d on d.id = t.id and d.workspace_id = workspace
  join duly.message m on m.id = d.message_id and m.workspace_id = workspace
  where m.text_id = any (texts) and d.state not in ('skipped', 'canceled', 'expired')
  group by m.text_id
$$;

-- The text of a template for a channel, language and style: what is made for them goes before what is made for each,
-- the channel before the language before the style; pt stands in for pt-BR. Of several the one that this address has
-- not had for longest.
create function duly.template_text_for(
  template uuid, workspace integer, channel text, language text, style text, "to" text
) returns duly.template_text
language plpgsql stable
as $$
#variable_conflict use_variable
declare
  tag text := lower(replace(language, '_', '-'));
  best duly.template_text;
begin
  select t.* into best from duly.template_text t
  where t.template_id = template and t.workspace_id = workspace and t.channel in (channel, '')
    and t.language in ('', tag, split_part(tag, '-', 1)) and t.style in (style, '')
  order by t.channel desc, length(t.language) desc, t.style desc, t.number limit 1;
  if exists (
    select from duly.template_text t
    where t.template_id = template and t.workspace_id = workspace and t.channel = best.channel
      and t.language = best.language and t.style = best.style and t.number > best.number) then
    select t.* into best from duly.template_text t
    left join duly.texts_said(workspace, duly.address_key(channel, "to"), array(
      select e.id from duly.template_text e
      where e.template_id = template and e.workspace_id = workspace and e.channel = best.channel
        and e.language = best.language and e.style = best.style)) s on s.text_id = t.id
    where t.template_id = template and t.workspace_id = workspace and t.channel = best.channel
      and t.language = best.language and t.style = best.style
    order by s.last nulls first, t.number limit 1;
  end if;
  return best;
end $$;

-- What a template has beside the body goes to what the application has given: its media come first, all else is replaced.
create function duly.with_content(metadata jsonb, content jsonb) returns jsonb
language sql immutable parallel safe
as $$
  select metadata || content || case
    when content ? 'media_urls' and jsonb_typeof(metadata -> 'media_urls') = 'array'
      then jsonb_build_object('media_urls', (content -> 'media_urls') || (metadata -> 'media_urls')) else '{}' end
$$;

-- A template's content for one delivery: the body, what else there is of it (subject, html, media_urls, buttons,
-- attachments), and from which text; or what is wrong. `template`: its name, for the newest live version, or name@version.
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
  person jsonb;
  language text;
  style text;
  parts jsonb;
  texts jsonb;
begin
  select t.* into found_template from duly.template t
  where t.workspace_id = workspace and t.name = called
    and case when wanted is null then t.state = 'live' else t.version = wanted and t.state <> 'draft' end
  order by t.version desc limit 1;
  if found_template.id is null then
    error := format('template: %L is no live template of this workspace', left(template, 100));
    return;
  elsif jsonb_typeof(variables) <> 'object' or octet_length(variables::text) > 131072 then
    error := 'variables: must be a JSON object of at most 64 KiB';
    return;
  elsif channel is null or "to" is null then
    error := case when channel is null then 'channel: is missing' else 'to: is missing' end;
    return;
  end if;
  if found_template.personal then
    person := duly.person_at(workspace, channel, "to");
  end if;
  language := coalesce(metadata ->> 'language', person ->> 'locale', '');
  style := coalesce(metadata ->> 'style', person ->> 'style', '');
  chosen := duly.template_text_for(found_template.id, workspace, channel, language, style, "to");
  if chosen.id is null then
    error := format('template: %s has no text for %s%s', called, channel, coalesce(
      (select format(' without metadata.style; give one of %s', string_agg(distinct t.style, ', '))
       from duly.template_text t
       where t.template_id = found_template.id and t.workspace_id = workspace and t.channel in (channel, '')
         and style = '' having count(*) > 0), case when style <> '' then format(' in the style %s', left(style, 40)) end, ''));
    return;
  elsif chosen.parts is null then
    error := format('template: %s has conditions, which only the daemon renders: queue it over HTTP or with duly send', called);
    return;
  end if;
  parts := coalesce(chosen.parts -> 'channels' -> channel, chosen.parts);
  if parts ? 'error' then
    error := format('template: %s: %s', called, parts ->> 'error');
    return;
  elsif channel = 'email' and not parts ? 'subject' then
    error := format('template: %s: subject: is missing; an email needs one', called);
    return;
  end if;
  select v.texts, v.error into texts, error from duly.template_values(found_template, variables, person) v;
  if error is not null then return; end if;
  if octet_length(texts::text)::bigint * jsonb_array_length(parts -> 'body') > 500000
     and (select sum(char_length(texts ->> (p.part ->> 'name'))) from jsonb_array_elements(parts -> 'body') p (part)
          where jsonb_typeof(p.part) = 'object') > 500000 then
    error := 'body: would have more than 500000 characters';
    return;
  end if;
  text_id := chosen.id;
  pinned := called || '@' || found_template.version;
  body := duly.filled(parts -> 'body', texts);
  if found_template.smart_replacement and channel = 'sms' then
    body := duly.smart_replaced(body);
  end if;
  content := '{}';
  if found_template.used_at is null then -- what has been used once is never taken away
    error := duly.use_template(workspace, chosen.id);
  end if;
  if parts - 'body' = '{}' and chosen.language = '' then
    return;
  end if;
  content := jsonb_strip_nulls(jsonb_build_object(
    'subject', case when channel in ('email', 'push', 'in_app') then duly.filled(parts -> 'subject', texts) end,
    'html', case when channel in ('email', 'in_app') then duly.filled(parts -> 'html', texts, true) end,
    'media_urls', (select jsonb_agg(duly.filled(m.url, texts) order by m.n)
                   from jsonb_array_elements(parts -> 'media_urls') with ordinality m (url, n)),
    'buttons', duly.filled_items(parts -> 'buttons', texts), 'attachments', duly.filled_items(parts -> 'attachments', texts),
    'language', case when not metadata ? 'language' then nullif(chosen.language, '') end));
end $$;

-- Notes that a template is used, by the text that is; what is wrong where it is not there any more.
create function duly.use_template(workspace integer, text_id uuid) returns text
language plpgsql
as $$
declare
  used duly.template;
begin
  select t.* into used from duly.template_text x join duly.template t on t.id = x.template_id and t.workspace_id = workspace
  where x.id = text_id and x.workspace_id = workspace;
  if used.id is not null and used.used_at is null then
    update duly.template t set used_at = now() where t.id = used.id and t.workspace_id = workspace and t.used_at is null;
    perform from duly.template t where t.id = used.id and t.workspace_id = workspace;
    used.id := case when found then used.id end;
  end if;
  return case when used.id is null then 'template: was taken away meanwhile' end;
end $$;

-- The parts of a text that only puts values in, as daemon/content/language.py has them; a test holds the two together.
-- Raises 22023 for what is more than {{ name }}.
create function duly.text_parts(source text, field text) returns jsonb
language plpgsql immutable parallel safe
as $$
declare
  rest text := regexp_replace(source, '\r\n?', E'\n', 'g');
  parts jsonb := '[]';
  pending text := '';
  here integer;
  places integer := 0;
  name text[];
begin
  loop
    here := coalesce(nullif(regexp_instr(rest, '\{[{%#]'), 0), char_length(rest) + 1);
    pending := pending || left(rest, here - 1);
    rest := substr(rest, here);
    exit when rest = '';
    name := regexp_match(rest,
      '^\{\{[ \t\n]*([A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*){0,7})[ \t\n]*\}\}');
    if name is null or char_length(name[1]) > 100
       or split_part(name[1], '.', 1) in ('and', 'or', 'not', 'in', 'is', 'if', 'elif', 'else', 'true', 'false', 'none',
                                          'True', 'False', 'None', 'self', 'super', 'loop') then
      raise exception '%: line %: SQL takes {{ name }} only; conditions come over HTTP or with duly template put', field,
        1 + char_length(regexp_replace(left(source, char_length(source) - char_length(rest)), '[^\n]', '', 'g'))
        using errcode = '22023';
    end if;
    if pending <> '' then
      parts := parts || to_jsonb(pending);
      pending := '';
    end if;
    parts := parts || jsonb_build_object('name', name[1]);
    rest := regexp_replace(rest, '^\{\{[^}]*\}\}', '');
    places := places + 1;
    if places > 1000 then
      raise exception '%: puts values into too many places; at most 1000 are possible', field using errcode = '22023';
    end if;
  end loop;
  return case when pending = '' then parts else parts || to_jsonb(pending) end;
end $$;

-- Puts a version of a template, or finds that the newest says the same. What comes here has been checked: by the daemon,
-- or by duly.put_template. A draft is not used until it is published; the same put as live publishes it.
create function duly.save_template(
  workspace text, name text, variables jsonb, smart_replacement boolean, draft boolean, texts jsonb,
  out version integer, out created boolean
)
language plpgsql security definer set search_path = duly, pg_temp
as $$
#variable_conflict use_variable
declare
  owner duly.workspace := duly.writable_workspace(workspace);
  digest bytea := sha256(convert_to(jsonb_build_array(variables, smart_replacement, texts)::text, 'UTF8'));
  newest duly.template;
  new_id uuid := duly.new_id();
begin
  perform pg_advisory_xact_lock(hashtextextended('duly.template ' || owner.id || ' ' || name, 0));
  select t.* into newest from duly.template t where t.workspace_id = owner.id and t.name = save_template.name
  order by t.version desc limit 1;
  if newest.digest = digest and newest.state <> 'retired' then
    version := newest.version;
    created := false;
    if newest.state = 'draft' and not draft then
      update duly.template t set state = 'live' where t.id = newest.id and t.workspace_id = owner.id;
    end if;
    return;
  end if;
  version := coalesce(newest.version, 0) + 1;
  created := true;
  insert into duly.template (id, workspace_id, name, version, variables, smart_replacement, state, digest, personal)
  values (new_id, owner.id, name, version, variables, smart_replacement, case when draft then 'draft' else 'live' end, digest,
          exists (select from jsonb_object_keys(variables) v (name) where v.name in ('FirstName', 'Name') or v.name like 'contact.%')
          or exists (select from jsonb_array_elements(texts) t (text)
                     where coalesce(t.text ->> 'language', '') <> '' or coalesce(t.text ->> 'style', '') <> ''));
  insert into duly.template_text
    (id, workspace_id, template_id, channel, language, style, number, body, subject, html, buttons, attachments, parts)
  select duly.new_id(), owner.id, new_id, coalesce(t.channel, ''), coalesce(lower(t.language), ''), coalesce(t.style, ''),
         coalesce(t.number, 1), t.body, t.subject, t.html, coalesce(t.buttons, '[]'), coalesce(t.attachments, '[]'), t.parts
  from jsonb_to_recordset(texts) t
    (channel text, language text, style text, number smallint, body text, subject text, html text, buttons jsonb,
     attachments jsonb, parts jsonb);
end $$;

-- Puts a template whose texts only put values in. `body`, `subject` and `html` are its one text for all channels, or
-- `texts` is an array of objects with these, `channel`, `language`, `style` and `number`. `variables` declares what the
-- texts use, by name: {"type", "default", "example"}; null: each is a text that must be given. Returns name@version;
-- raises 22023 with "field: what is wrong".
create function duly.put_template(
  workspace text, name text, body text default null, variables jsonb default null, subject text default null,
  html text default null, smart_replacement boolean default false, draft boolean default false, texts jsonb default null
) returns text
language plpgsql security definer set search_path = duly, pg_temp
as $$
#variable_conflict use_variable
declare
  items jsonb := coalesce(texts, jsonb_build_array(jsonb_strip_nulls(
    jsonb_build_object('body', body, 'subject', subject, 'html', html))));
  declared jsonb := coalesce(nullif(variables, 'null'), '{}');
  ready jsonb := '[]';
  used text[] := '{}';
  item jsonb;
  field text;
  key text;
  value jsonb;
  parts jsonb;
  place text;
  problem text;
  saved record;
begin
  perform duly.writable_workspace(workspace);
  if name is null or name !~ '^[a-z][a-z0-9_.-]{0,79}$' then
    problem := 'name: must be 1 to 80 small letters, digits and _ . -, such as appointment_reminder';
  elsif texts is not null and not (body is null and subject is null and html is null) then
    problem := 'texts: has the texts; leave out body, subject and html';
  elsif jsonb_typeof(items) <> 'array' or jsonb_array_length(items) not between 1 and 1000 then
    problem := 'texts: must be a list of 1 to 1000 texts';
  elsif jsonb_typeof(declared) <> 'object' or octet_length(declared::text) > 32768 then
    problem := 'variables: must be a JSON object of at most 32 KiB';
  end if;
  if problem is not null then
    raise exception '%', problem using errcode = '22023';
  end if;
  for item, place in select i.value, 'texts.' || i.n || '.' from jsonb_array_elements(items) with ordinality i (value, n) loop
    place := case when texts is null then '' else place end;
    if jsonb_typeof(item) <> 'object' then
      raise exception '%: must be a JSON object', rtrim(place, '.') using errcode = '22023';
    end if;
    for key, value in select e.key, e.value from jsonb_each(item) e loop
      if key not in ('channel', 'language', 'style', 'number', 'body', 'subject', 'html') then
        raise exception '%', place || left(key, 40) || ': is no field of a text here' using errcode = '22023';
      elsif jsonb_typeof(value) <> (case key when 'number' then 'number' else 'string' end) and value <> 'null' then
        raise exception '%', place || key || ': must be a ' || case key when 'number' then 'number' else 'text' end using errcode = '22023';
      end if;
    end loop;
    if coalesce(item ->> 'channel', '') not in ('', 'sms', 'whatsapp', 'rcs', 'telegram', 'email', 'push', 'in_app') then
      problem := 'channel: is none of sms, whatsapp, rcs, telegram, email, push, in_app';
    elsif coalesce(item ->> 'language', '') !~ '^([A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*)?$' or char_length(item ->> 'language') > 35 then
      problem := 'language: must be a tag such as en or pt-BR';
    elsif coalesce(item ->> 'style', '') !~ '^[a-z0-9_-]{0,40}$' then
      problem := 'style: must be at most 40 small letters, digits, _ and -';
    elsif coalesce(item ->> 'number', '1') !~ '^[1-9][0-9]{0,3}$' then
      problem := 'number: must be from 1 to 9999';
    elsif duly.is_blank(nullif(item -> 'body', 'null')) then
      problem := 'body: is missing';
    elsif item ->> 'channel' = 'email' and duly.is_blank(nullif(item -> 'subject', 'null')) then
      problem := 'subject: is missing; an email needs one';
    elsif item ->> 'channel' in ('sms', 'whatsapp', 'rcs', 'telegram')
          and coalesce(nullif(item -> 'subject', 'null'), nullif(item -> 'html', 'null')) is not null then
      problem := format('subject: %s has neither subject nor html', item ->> 'channel');
    elsif char_length(item ->> 'body') > 100000 or char_length(item ->> 'html') > 100000 then
      problem := 'body: is longer than 100000 characters';
    elsif char_length(item ->> 'subject') > 1000 then
      problem := 'subject: is longer than 1000 characters';
    end if;
    if problem is not null then
      raise exception '%', place || problem using errcode = '22023';
    end if;
    parts := '{}';
    foreach field in array array['body', 'subject', 'html'] loop
      continue when item ->> field is null;
      parts := parts || jsonb_build_object(field, duly.text_parts(item ->> field, place || field));
      used := used || array(select p.part ->> 'name' from jsonb_array_elements(parts -> field) p (part)
                            where jsonb_typeof(p.part) = 'object');
    end loop;
    ready := ready || (item || jsonb_build_object('parts', parts));
  end loop;
  if exists (select from jsonb_array_elements(ready) t (v)
             group by coalesce(v ->> 'channel', ''), lower(coalesce(v ->> 'language', '')), coalesce(v ->> 'style', ''),
                      coalesce(v ->> 'number', '1') having count(*) > 1) then
    raise exception 'texts: two are for the same channel, language and style; give them different numbers' using errcode = '22023';
  end if;
  foreach key in array used loop
    if not declared ? key then
      if nullif(variables, 'null') is not null and key not in ('FirstName', 'Name') and key not like 'contact.%' then
        raise exception 'variables: % is used in a text and not declared', key using errcode = '22023';
      end if;
      declared := declared || jsonb_build_object(key, '{"type": "text"}'::jsonb);
    end if;
  end loop;
  select v.problem into problem from (select duly.variables_problem(declared) as problem) v;
  if problem is null then
    select format('variables.%s: is a flag, which only conditions ask for', u.name) into problem
    from unnest(used) u (name) where declared -> u.name ->> 'type' = 'flag' limit 1;
  end if;
  if problem is not null then
    raise exception '%', problem using errcode = '22023';
  end if;
  select s.* into saved from duly.save_template(workspace, name, (
    select coalesce(jsonb_object_agg(d.key, '{"type": "text"}'::jsonb || d.value), '{}') from jsonb_each(declared) d),
    coalesce(smart_replacement, false), coalesce(draft, false), ready) s;
  return name || '@' || saved.version;
end $$;

-- What is wrong with variables as they are declared; null where nothing is.
create function duly.variables_problem(declared jsonb) returns text
language plpgsql immutable parallel safe
as $$
declare
  name text;
  each jsonb;
  key text;
  problem text;
begin
  for name, each in select d.key, d.value from jsonb_each(declared) d loop
    if name !~ '^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*){0,7}$' or char_length(name) > 100 then
      return format('variables: %L is no name such as FirstName or user.first_name, of letters, digits and underscores', left(name, 100));
    elsif jsonb_typeof(each) <> 'object' then
      return format('variables.%s: must be an object with type, default and example', name);
    elsif exists (select from jsonb_object_keys(declared) o (other) where o.other like replace(name, '_', '\_') || '.%') then
      return format('variables.%s: is also the beginning of another name', name);
    elsif coalesce(each ->> 'type', 'text') not in ('text', 'number', 'date', 'time', 'url', 'flag') then
      return format('variables.%s.type: is none of text, number, date, time, url, flag', name);
    end if;
    for key in select k.key from jsonb_object_keys(each) k (key) loop
      if key not in ('type', 'default', 'example') then
        return format('variables.%s.%s: is no field of a variable: it has type, default and example', name, left(key, 40));
      end if;
    end loop;
    foreach key in array array['default', 'example'] loop
      continue when coalesce(each -> key, 'null') = 'null' or key = 'default' and each -> key = '""' and coalesce(each ->> 'type', 'text') = 'text';
      problem := duly.value_problem(coalesce(each ->> 'type', 'text'), each -> key);
      if problem is not null then
        return format('variables.%s.%s: %s', name, key, problem);
      end if;
    end loop;
  end loop;
  return null;
end $$;

-- The version of a template that a name or name@version means; without a version the newest.
create function duly.template_version(workspace integer, template text) returns duly.template
language sql stable
as $$
  select t from duly.template t
  where t.workspace_id = workspace and t.name = regexp_replace(template, '@[0-9]{1,9}$', '')
    and (template !~ '@[0-9]{1,9}$' or t.version = substring(template from '@([0-9]{1,9})$')::integer)
  order by t.version desc limit 1
$$;

-- Publishes a draft (live) or retires a version, which stays as it is for what was made of it. Raises P0002 where it is
-- not there. Returns name@version.
create function duly.set_template_state(workspace text, template text, state text) returns text
language plpgsql security definer set search_path = duly, pg_temp
as $$
declare
  owner duly.workspace := duly.writable_workspace(workspace);
  found_template duly.template := duly.template_version(owner.id, template);
begin
  if state is null or state not in ('live', 'retired') then
    raise exception 'state: must be live or retired' using errcode = '22023';
  elsif found_template.id is null then
    raise exception 'template: there is no template %', quote_literal(left(template, 100)) using errcode = 'P0002';
  end if;
  update duly.template t set state = set_template_state.state where t.id = found_template.id and t.workspace_id = owner.id;
  return found_template.name || '@' || found_template.version;
end $$;

-- Removes a version that was never used. Raises 55000 for one that was, P0002 where it is not there.
create function duly.delete_template(workspace text, template text) returns text
language plpgsql security definer set search_path = duly, pg_temp
as $$
declare
  owner duly.workspace := duly.writable_workspace(workspace);
  found_template duly.template := duly.template_version(owner.id, template);
begin
  if found_template.id is null then
    raise exception 'template: there is no template %', quote_literal(left(template, 100)) using errcode = 'P0002';
  end if;
  perform from duly.template t where t.id = found_template.id and t.workspace_id = owner.id for update;
  delete from duly.template_text x where x.template_id = found_template.id and x.workspace_id = owner.id;
  delete from duly.template t where t.id = found_template.id and t.workspace_id = owner.id;
  return found_template.name || '@' || found_template.version;
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
-- As before, and from a template: its newest text, or with `text_id` the one that the daemon has rendered as `body` with
-- `content` beside it. `asked`: what the application named the template, where it did; a key is compared by that.
drop function duly.enqueue_checked(
  duly.workspace, text, text, text, timestamptz, integer, text, text, timestamptz, text, jsonb, jsonb);
create function duly.enqueue_checked(
  workspace duly.workspace, channel text, "to" text, body text, due_at timestamptz, priority integer,
  idempotency_key text, category text, expires_at timestamptz, template text, variables jsonb, metadata jsonb,
  text_id uuid default null, content jsonb default '{}', asked text default null, out id uuid, out error text
)
language plpgsql
as $$
#variable_conflict use_column
declare
  new_id uuid;
  hash bytea;
  digest bytea;
  other record;
  plain text := case when asked is null then body end;
  given jsonb := metadata; -- which a key is compared by, and not what a template adds
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
    select r.error, r.text_id, r.pinned, r.body, r.content into error, text_id, pinned, body, content
    from duly.rendered(workspace.id, template, channel, "to", coalesce(variables, '{}'), coalesce(metadata, '{}')) r;
  elsif text_id is not null then
    error := duly.use_template(workspace.id, text_id);
  end if;
  if error is not null then return; end if;
  if text_id is not null and content <> '{}' and jsonb_typeof(metadata) = 'object' then
    metadata := duly.with_content(metadata, content);
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
    jsonb_build_array(channel, "to", plain, category, coalesce(asked, template), variables, given)::text, 'UTF8'));
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

-- Queues many, as duly.enqueue_batch says. `rendered` has for some, at their places, what the daemon has made of their
-- templates: {"text_id", "template" (name@version), "body", "content"}, or {"error"}; else null.
create function duly.enqueue_items(items jsonb, rendered jsonb) returns table ("position" integer, id uuid, error text)
language plpgsql
as $$
declare
  item jsonb;
  made jsonb;
  workspace duly.workspace;
  result record;
begin
  if items is null or jsonb_typeof(items) <> 'array' then
    raise exception 'items: must be a JSON array of objects' using errcode = '22023';
  end if;
  "position" := 0;
  for item, made in
    select i.value, nullif(r.value, 'null') from jsonb_array_elements(items) with ordinality i
    left join jsonb_array_elements(rendered) with ordinality r on r.ordinality = i.ordinality
    order by i.ordinality
  loop
    "position" := "position" + 1;
    id := null;
    error := duly.item_problem(item);
    if error is null and workspace.name is distinct from item ->> 'workspace' then
      begin
        workspace := duly.writable_workspace(item ->> 'workspace');
      exception when invalid_parameter_value then
        error := sqlerrm;
        workspace := null;
      end;
    elsif error is null and item ->> 'workspace' is null then
      error := 'workspace: is missing';
    end if;
    if error is null and made ? 'error' then
      error := made ->> 'error';
    elsif error is null and made is not null and item ->> 'body' is not null then
      error := 'template: has the text; leave out body, or the template';
    elsif error is null then
      select * into result from duly.enqueue_checked(
        workspace, item ->> 'channel', item ->> 'to', coalesce(made ->> 'body', item ->> 'body'),
        coalesce((item ->> 'due_at')::timestamptz, now()), coalesce((item ->> 'priority')::integer, 2),
        item ->> 'idempotency_key', coalesce(item ->> 'category', 'transactional'),
        (item ->> 'expires_at')::timestamptz, coalesce(made ->> 'template', item ->> 'template'),
        coalesce(nullif(item -> 'variables', 'null'), '{}'), coalesce(nullif(item -> 'metadata', 'null'), '{}'),
        (made ->> 'text_id')::uuid, coalesce(made -> 'content', '{}'), case when made is not null then item ->> 'template' end);
      id := result.id;
      error := result.error;
    end if;
    return next;
  end loop;
end $$;

-- Queues many: a JSON array of objects with enqueue's parameter names. One row per item, by position from 1:
-- its id, or what is wrong with it. A wrong item does not keep the others back.
create or replace function duly.enqueue_batch(items jsonb) returns table ("position" integer, id uuid, error text)
language plpgsql security definer set search_path = duly, pg_temp
as $$
begin
  return query select * from duly.enqueue_items(items, '[]');
end $$;

-- The same with what the daemon has rendered of their templates.
create function duly.enqueue_rendered(items jsonb, rendered jsonb)
returns table ("position" integer, id uuid, error text)
language plpgsql security definer set search_path = duly, pg_temp
as $$
begin
  return query select * from duly.enqueue_items(items, rendered);
end $$;

-- A file of recipients may be written to from a template: the version that was the newest when it began.
alter table duly.upload add column template text;

drop function duly.upload_begin(text, text, bytea, text, text, timestamptz, integer, text, timestamptz, jsonb);
-- Begins an upload, or finds the one that this key has already, as before. `template`: what all lines are written from.
create function duly.upload_begin(
  workspace text, key text, digest bytea, channel text, body text default null, due_at timestamptz default null,
  priority integer default 3, category text default 'transactional', expires_at timestamptz default null,
  metadata jsonb default '{}', template text default null
) returns table (id uuid, line_done bigint, queued bigint, pinned text)
language plpgsql security definer set search_path = duly, pg_temp
as $$
#variable_conflict use_column
declare
  found_workspace duly.workspace := duly.writable_workspace(workspace);
  new_id uuid := duly.new_id();
  problem text;
  version text;
  found_upload duly.upload;
begin
  if key is null or char_length(key) not between 1 and 255 then
    raise exception 'key: must have 1 to 255 characters' using errcode = '22023';
  elsif digest is null or octet_length(digest) not between 16 and 64 then
    raise exception 'digest: must have 16 to 64 bytes' using errcode = '22023';
  end if;
  select * into found_upload from duly.upload u where u.workspace_id = found_workspace.id and u.key = upload_begin.key;
  if not found then
    -- What all lines share is refused here and not with each of them; the address is one that is right.
    problem := duly.problem(
      channel, case channel when 'email' then 'a@example.com' else '+14155550123' end,
      coalesce(duly.with_footer(found_workspace, category, body, metadata ->> 'language'), 'x'),
      coalesce(due_at, now()), priority, null, category, expires_at, null, '{}', metadata);
    problem := coalesce(problem, duly.category_problem(category));
    if problem is null and upload_begin.template is not null then
      select t.name || '@' || t.version into version from duly.template t
      where t.workspace_id = found_workspace.id and t.name = regexp_replace(upload_begin.template, '@[0-9]{1,9}$', '')
        and case when upload_begin.template ~ '@[0-9]{1,9}$'
                 then t.version = substring(upload_begin.template from '@([0-9]{1,9})$')::integer and t.state <> 'draft'
                 else t.state = 'live' end
      order by t.version desc limit 1;
      problem := case
        when version is null then format('template: %L is no live template of this workspace', left(upload_begin.template, 100))
        when body is not null then 'template: has the text; leave out body, or the template' end;
    end if;
    if problem is not null then
      raise exception '%', problem using errcode = '22023';
    end if;
    insert into duly.upload (id, workspace_id, key, digest, message_id, channel, due_at, priority, category, expires_at, metadata, template)
    values (new_id, found_workspace.id, key, digest, case when body is not null then new_id end,
            channel::duly.channel, due_at, priority, category, expires_at, metadata, version)
    on conflict (workspace_id, key) do nothing;
    if found and body is not null then
      insert into duly.message (id, workspace_id, body, category, metadata)
      values (new_id, found_workspace.id, duly.with_footer(found_workspace, category, body, metadata ->> 'language'),
              category, metadata);
    end if;
    select * into found_upload from duly.upload u where u.workspace_id = found_workspace.id and u.key = upload_begin.key;
  end if;
  if found_upload.digest <> digest then
    raise exception 'key: % was used at % for another file or with other options, and % deliveries were queued',
      quote_literal(key), to_char(found_upload.began_at, 'YYYY-MM-DD HH24:MI:SS TZ'), found_upload.queued
      using errcode = '22023',
            hint = 'Another campaign needs a key of its own (--key). If lines were corrected, upload only those: --errors writes them.';
  end if;
  return query select found_upload.id, found_upload.line_done, found_upload.queued, found_upload.template;
end $$;

drop function duly.upload_lines(uuid, bigint, bigint, bigint[], text[], text[], timestamptz[], integer[], text[], text[],
  timestamptz[], text[], text[]);
-- Queues the lines after `after_line` up to `last_line` in one transaction, and answers which were refused and why.
-- As before; of a template each line brings its variables, or what the daemon has rendered with its text's id.
create function duly.upload_lines(
  upload uuid, after_line bigint, last_line bigint, lines bigint[], "to" text[], body text[] default null,
  due_at timestamptz[] default null, priority integer[] default null, idempotency_key text[] default null,
  category text[] default null, expires_at timestamptz[] default null, metadata text[] default null,
  media text[] default null, variables text[] default null, text_ids uuid[] default null
) returns table (line bigint, error text)
language plpgsql security definer set search_path = duly, pg_temp
as $$
#variable_conflict use_variable
declare
  u duly.upload;
  workspace duly.workspace;
  shared_body text;
  seal smallint;
  lane record;
  result record;
  -- The ids count up from a random one: in the lines' order, and without asking for random bits each time.
  seed text := duly.new_id();
  id_prefix text := left(seed, 24);
  id_base bigint := ('x' || right(seed, 12))::bit(48)::bigint & x'7fffffffffff'::bigint;
  one_by_one boolean; -- the lines go the way of duly.enqueue
  wrong text;
  listed boolean; -- whether anybody must not be written to: else nobody is looked for
begin
  select * into u from duly.upload as found
  where found.id = upload and found.workspace_id in (select duly.writable_workspaces())
  for update;
  if not found then
    raise exception 'upload: there is no upload %', upload using errcode = 'P0002';
  elsif after_line is null or last_line is null or after_line > u.line_done then
    raise exception 'after_line: must be % at most: what comes after it was not given yet', u.line_done using errcode = '55000';
  elsif u.message_id is not null
        and not (body is null and idempotency_key is null and category is null and metadata is null and media is null) then
    raise exception 'body: all lines of this upload have one message: only to, due_at, priority and expires_at differ'
      using errcode = '22023';
  end if;
  listed := exists (select from duly.suppression s where s.workspace_id in (u.workspace_id, 0));
  select * into workspace from duly.workspace w where w.id = u.workspace_id;
  seal := case when workspace.seal then 0 end;
  select m.body into shared_body from duly.message m where m.id = u.message_id and m.workspace_id = u.workspace_id;

  if u.template is null and not (variables is null and text_ids is null) then
    raise exception 'variables: this upload has no template' using errcode = '22023';
  end if;
  select duly.use_template(u.workspace_id, t.id) into wrong from (select distinct unnest(text_ids)) t (id)
  where t.id is not null order by 1 nulls last limit 1;
  if wrong is not null then
    raise exception '%', wrong using errcode = '22023';
  end if;

  -- Lines with a key, those of a workspace that remembers contents, and those of a template that nobody has rendered yet
  -- go the way of duly.enqueue, each by itself.
  one_by_one := workspace.duplicate_window is not null or u.template is not null and text_ids is null;
  if one_by_one or idempotency_key is not null then
    for i in 1 .. cardinality(lines) loop
      continue when lines[i] <= u.line_done or lines[i] > last_line
                    or not one_by_one and idempotency_key[i] is null;
      result := duly.enqueue_checked(
        workspace, u.channel::text, "to"[i], coalesce(shared_body, body[i]), coalesce(due_at[i], u.due_at, now()),
        coalesce(priority[i], u.priority), idempotency_key[i], coalesce(category[i], u.category),
        coalesce(expires_at[i], u.expires_at), u.template, duly.line_metadata('{}', variables[i], null),
        duly.line_metadata(u.metadata, metadata[i], media[i]), text_ids[i]);
      if result.error is null then
        u.queued := u.queued + 1;
      else
        insert into duly.upload_refusal (upload_id, line, workspace_id, error)
        values (u.id, lines[i], u.workspace_id, duly.refusal(workspace, result.error));
      end if;
    end loop;
  end if;

  if not one_by_one and u.line_done < last_line then
    for lane in
      with checked as materialized (
        select g.*, (id_prefix || lpad(to_hex(id_base + g.line - after_line), 12, '0'))::uuid as id,
               coalesce(duly.problem(u.channel::text, g."to", g.body, g.due_at, g.priority, null, g.category, g.expires_at,
                                     null, g.variables, g.metadata),
                        duly.category_problem(g.category)) as error,
               duly.address_hash(secret.inner_pad, secret.outer_pad, u.channel::text, g."to") as address_key
        from duly.hash_key secret, (
          select l.line, l."to",
                 case when shared_body is not null then shared_body
                      when workspace.footers is null then l.body
                      else duly.with_footer(workspace, coalesce(l.category, u.category), l.body,
                             coalesce(duly.line_metadata(u.metadata, l.metadata, null) ->> 'language', u.metadata ->> 'language')) end as body, coalesce(l.due_at, u.due_at, now()) as due_at,
                 coalesce(l.priority, u.priority) as priority, coalesce(l.category, u.category) as category,
                 coalesce(l.expires_at, u.expires_at) as expires_at,
                 case when l.metadata is null and l.media is null then u.metadata
                      else duly.line_metadata(u.metadata, l.metadata, l.media) end as metadata,
                 case when l.variables is null then '{}' else duly.line_metadata('{}', l.variables, null) end as variables, l.text_id
          from unnest(lines, "to", body, due_at, priority, idempotency_key, category, expires_at, metadata, media, variables, text_ids)
            as l (line, "to", body, due_at, priority, idempotency_key, category, expires_at, metadata, media, variables, text_id)
          where l.line > u.line_done and l.line <= last_line and l.idempotency_key is null
          offset 0
        ) g
      ), message as (
        insert into duly.message (id, workspace_id, body, category, template, text_id, variables, metadata, sealed_with)
        select c.id, u.workspace_id, c.body, c.category, u.template, c.text_id, c.variables, c.metadata, seal from checked c
        where u.message_id is null and c.error is null
      ), delivery as (
        insert into duly.delivery_row
          (id, workspace_id, message_id, channel, "to", address_key, priority, due_at, expires_at, segments, state, reason, detail,
           sealed_with)
        select c.id, u.workspace_id, coalesce(u.message_id, c.id), u.channel, c."to", c.address_key, c.priority, c.due_at,
               c.expires_at,
               case when u.channel <> 'sms' or octet_length(c.body) <= 70 then 1 -- so short a text is one part in any letters
                    else duly.segments(c.body) end,
               (case when stop.reason is null then 'queued' else 'skipped' end)::duly.state, stop.reason,
               case when stop.reason is not null then 'suppression: found when it was queued' end, seal
        from checked c
        left join lateral (
          select s.reason from duly.suppression s
          where listed and s.address_key = c.address_key and s.workspace_id in (u.workspace_id, 0)
            and s.channel in ('', u.channel::text) and s.category in ('', c.category) and s.account = ''
          limit 1
        ) stop on true
        where c.error is null
      ), refusal as (
        insert into duly.upload_refusal (upload_id, line, workspace_id, error)
        select u.id, c.line, u.workspace_id, duly.refusal(workspace, c.error) from checked c where c.error is not null
      )
      select c.priority, min(c.due_at) as due_at, count(*) as queued from checked c where c.error is null group by c.priority
    loop
      u.queued := u.queued + lane.queued;
      perform duly.tell(u.workspace_id, u.channel::text, lane.priority, lane.due_at);
    end loop;
    perform duly.forget_erased(
      u.workspace_id, (id_prefix || lpad(to_hex(id_base + 1), 12, '0'))::uuid,
      (id_prefix || lpad(to_hex(id_base + last_line - after_line), 12, '0'))::uuid);
  end if;

  update duly.upload d set line_done = last_line, queued = u.queued, moved_at = now()
  where d.id = u.id and d.workspace_id = u.workspace_id and d.line_done < last_line;
  return query select r.line, r.error from duly.upload_refusal r
  where r.upload_id = u.id and r.workspace_id = u.workspace_id and r.line > after_line and r.line <= last_line
  order by r.line;
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
create index preference_day on duly.preference (workspace_id, send_day, contact_id) where enabled;

-- Whose check-ins are planned anew: their preferences, goals or clock have changed since. The planner takes them away.
create table duly.plan_again (
  contact_id uuid not null,
  workspace_id integer not null,
  asked_at timestamptz not null default now(),
  primary key (contact_id, workspace_id)
);

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
create index progress_goal on duly.progress (goal_id, at) include (amount);
create index progress_recorded on duly.progress using brin (recorded_at);
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

-- A series that is enabled again is planned for the days that are not over: what was decided before stays.
create function duly.plan_anew() returns trigger
language plpgsql security definer set search_path = duly, pg_temp
as $$
begin
  update duly.plan_run r set done_at = null, last_contact = null
  where r.series_id = new.id and r.workspace_id = new.workspace_id
    and r.on_date >= (now() at time zone 'UTC' - interval '12 hours')::date;
  return new;
end $$;
create trigger plan_anew after update of enabled on duly.series
  for each row when (new.enabled and not old.enabled) execute function duly.plan_anew();

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
create index planned_at on duly.planned using brin (at);
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
  delete from duly.plan_again a where a.contact_id = old.id and a.workspace_id = old.workspace_id;
  delete from duly.series_member m where m.contact_id = old.id and m.workspace_id = old.workspace_id;
  delete from duly.planned p where p.contact_id = old.id and p.workspace_id = old.workspace_id;
  return old;
end $$;
create trigger forget_plans after delete on duly.contact for each row execute function duly.forget_plans();

-- Whose preferences, goals and progress these are. Raises 22023.
create function duly.contact_of(workspace duly.workspace, contact text) returns uuid
language plpgsql stable
as $$
#variable_conflict use_variable
declare
  found_id uuid := (select c.id from duly.contact c where c.workspace_id = workspace.id and c.external_id = contact);
begin
  if found_id is null then
    raise exception 'contact: % is no contact''s external_id in workspace %; put it in with duly.put_contact first',
      coalesce(quote_literal(left(contact, 100)), 'null'), workspace.name using errcode = '22023';
  end if;
  return found_id;
end $$;

-- Takes back what was planned of somebody's check-ins and still lies ahead in the queue, or was decided against, so that
-- it can be planned anew. What a daemon has leased already stays.
create function duly.plan_afresh(workspace integer, contacts uuid[]) returns void
language plpgsql security definer set search_path = duly, pg_temp
as $$
#variable_conflict use_variable
declare
  ahead uuid[];
begin
  ahead := array(
    select d.id from duly.delivery_row d
    where d.workspace_id = workspace and d.state = 'queued' and d.id in (
      select p.delivery_id from duly.planned p
      where p.contact_id = any (contacts) and p.workspace_id = workspace and p.source = 'check_in' and p.wished_at > now())
    order by d.id for update skip locked);
  update duly.delivery_row d
  set state = 'canceled', reason = 'canceled', detail = 'preferences, goals or clock have changed: planned anew', state_at = now()
  where d.id = any (ahead) and d.workspace_id = workspace;
  if ahead <> '{}' and exists (select from duly.workspace w where w.id = workspace and w.duplicate_window is not null) then
    delete from duly.recent_content r where r.workspace_id = workspace and r.delivery_id = any (ahead);
  end if;
  delete from duly.planned p
  where p.contact_id = any (contacts) and p.workspace_id = workspace and p.source = 'check_in' and p.wished_at > now()
    and (p.delivery_id is null or p.delivery_id = any (ahead));
end $$;

-- Has the planner plan somebody's check-ins again.
create function duly.ask_plan_again(workspace integer, contact uuid) returns void
language sql
as $$
  select duly.plan_afresh(workspace, array[contact]);
  insert into duly.plan_again as a (contact_id, workspace_id) values (contact, workspace)
  on conflict (contact_id, workspace_id) do update set asked_at = clock_timestamp();
$$;

create function duly.plan_again_by_clock() returns trigger
language plpgsql security definer set search_path = duly, pg_temp
as $$
begin
  if exists (select from duly.preference p where p.contact_id = new.id and p.workspace_id = new.workspace_id) then
    perform duly.ask_plan_again(new.workspace_id, new.id);
  end if;
  return new;
end $$;
create trigger plan_again after update of time_zone on duly.contact
  for each row when (old.time_zone is distinct from new.time_zone) execute function duly.plan_again_by_clock();

-- A weekday by its English name or number, 1 for Monday to 7 for Sunday; null where it is none.
create function duly.weekday(day text) returns smallint
language sql immutable parallel safe
as $$
  select case
    when day ~ '^[1-7]$' then day::smallint
    else array_position(
      '{monday,tuesday,wednesday,thursday,friday,saturday,sunday}'::text[], lower(btrim(day)))::smallint end
$$;

-- What is wrong with an order of channels; null where nothing is, or none is given.
create function duly.channels_problem(channels text[]) returns text
language sql immutable parallel safe
as $$
  select 'channels: must be some of sms, whatsapp, rcs, telegram, email, push, in_app, in the order in which they are tried'
  where cardinality(channels) > 7 or exists (
    select from unnest(channels) c (name)
    where c.name is null or c.name not in ('sms', 'whatsapp', 'rcs', 'telegram', 'email', 'push', 'in_app'))
$$;

-- Writes how somebody wants to be written to; null leaves a field as it is, and priority 0 leaves it to the kind. Their
-- time zone and the most a week stand with the contact (duly.put_contact). Raises 22023 with "field: what is wrong".
create function duly.set_preference(
  workspace text, contact text, enabled boolean default null, send_day text default null, send_time text default null,
  on_goal_met boolean default null, on_partial_goal boolean default null, style text default null,
  channels text[] default null, priority integer default null
) returns uuid
language plpgsql security definer set search_path = duly, pg_temp
as $$
#variable_conflict use_column
declare
  found_workspace duly.workspace := duly.writable_workspace(workspace);
  whose uuid := duly.contact_of(found_workspace, contact);
  problem text := case
    when send_day is not null and duly.weekday(send_day) is null then
      format('send_day: %L is no weekday such as Sunday, and no number from 1 for Monday to 7', left(send_day, 40))
    when send_time !~ '^([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9])?$' then
      format('send_time: %L is no time such as 18:00', left(send_time, 40))
    when style !~ '^[a-z0-9_-]{1,40}$' then
      'style: must be 1 to 40 small letters, digits, - and _, such as supportive, snarky or chaotic'
    when priority not between 0 and 3 then
      format('priority: %s is none of 1 (high, a coach), 2 (normal), 3 (bulk), 0 (by the kind of message)', priority)
    when duly.channels_problem(channels) is not null then duly.channels_problem(channels)
  end;
begin
  if problem is not null then
    raise exception '%', problem using errcode = '22023';
  end if;
  insert into duly.preference as p
    (contact_id, workspace_id, enabled, send_day, send_time, on_goal_met, on_partial_goal, style, channels, priority)
  values (whose, found_workspace.id, coalesce(set_preference.enabled, true), coalesce(duly.weekday(set_preference.send_day), 7),
          coalesce(set_preference.send_time, '18:00')::time, coalesce(set_preference.on_goal_met, false),
          coalesce(set_preference.on_partial_goal, true), coalesce(set_preference.style, 'supportive'),
          coalesce(set_preference.channels, '{}'), nullif(set_preference.priority, 0))
  on conflict (contact_id, workspace_id) do update
  set enabled = coalesce(set_preference.enabled, p.enabled),
      send_day = coalesce(duly.weekday(set_preference.send_day), p.send_day),
      send_time = coalesce(set_preference.send_time::time, p.send_time),
      on_goal_met = coalesce(set_preference.on_goal_met, p.on_goal_met),
      on_partial_goal = coalesce(set_preference.on_partial_goal, p.on_partial_goal),
      style = coalesce(set_preference.style, p.style), channels = coalesce(set_preference.channels, p.channels),
      priority = case when set_preference.priority is null then p.priority else nullif(set_preference.priority, 0) end,
      updated_at = now();
  perform duly.ask_plan_again(found_workspace.id, whose);
  return whose;
end $$;

-- Makes a goal, or changes the one of that name; null leaves a field as it is. Returns its id. Raises 22023.
create function duly.set_goal(
  workspace text, contact text, name text, target numeric default null, unit text default null,
  period text default null, begins_on date default null, ends_on date default null
) returns uuid
language plpgsql security definer set search_path = duly, pg_temp
as $$
#variable_conflict use_column
declare
  found_workspace duly.workspace := duly.writable_workspace(workspace);
  whose uuid := duly.contact_of(found_workspace, contact);
  present duly.goal;
  problem text;
  found_id uuid;
begin
  select g.* into present from duly.goal g
  where g.contact_id = whose and g.name = set_goal.name and g.workspace_id = found_workspace.id;
  target := coalesce(set_goal.target, present.target);
  begins_on := coalesce(set_goal.begins_on, present.begins_on);
  ends_on := coalesce(set_goal.ends_on, present.ends_on);
  problem := case
    when name is null or char_length(name) not between 1 and 200 or name ~ '[[:cntrl:]]' or name !~ '[^[:space:]]' then
      'name: must have 1 to 200 characters, such as Morning runs'
    when set_goal.target is null then 'target: is missing; say how much is to be reached in each period'
    when not (set_goal.target > 0 and set_goal.target < 1e12) then 'target: must be a number greater than 0, below 1e12'
    when char_length(set_goal.unit) > 40 or set_goal.unit ~ '[[:cntrl:]]' then 'unit: must have at most 40 characters, such as km'
    when set_goal.period not in ('day', 'week', 'month') then
      format('period: %L is none of day, week, month', left(set_goal.period, 40))
    when not (set_goal.begins_on >= '1970-01-01' and set_goal.begins_on < '2200-01-01') then
      'begins_on: must be in the years 1970 to 2199'
    when not (set_goal.ends_on >= '1970-01-01' and set_goal.ends_on < '2200-01-01') then
      'ends_on: must be in the years 1970 to 2199'
    when set_goal.ends_on < set_goal.begins_on then 'ends_on: must not be before begins_on'
    when present.id is null and (
      select count(*) from duly.goal g where g.contact_id = whose and g.workspace_id = found_workspace.id) >= 100 then
      'name: somebody may have 100 goals; remove one first'
  end;
  if problem is not null then
    raise exception '%', problem using errcode = '22023';
  end if;
  insert into duly.goal as g (id, workspace_id, contact_id, name, unit, target, period, begins_on, ends_on)
  values (duly.new_id(), found_workspace.id, whose, set_goal.name, coalesce(set_goal.unit, ''), set_goal.target,
          coalesce(set_goal.period, 'week'), set_goal.begins_on, set_goal.ends_on)
  on conflict (contact_id, name, workspace_id) do update
  set unit = coalesce(set_goal.unit, g.unit), target = excluded.target, period = coalesce(set_goal.period, g.period),
      begins_on = excluded.begins_on, ends_on = excluded.ends_on
  returning g.id into found_id;
  if exists (select from duly.preference p where p.contact_id = whose and p.workspace_id = found_workspace.id) then
    perform duly.ask_plan_again(found_workspace.id, whose);
  end if;
  return found_id;
end $$;

-- Removes a goal with its progress; whether there was one.
create function duly.remove_goal(workspace text, contact text, name text) returns boolean
language plpgsql security definer set search_path = duly, pg_temp
as $$
#variable_conflict use_column
declare
  found_workspace duly.workspace := duly.writable_workspace(workspace);
  whose uuid := duly.contact_of(found_workspace, contact);
  removed uuid;
begin
  delete from duly.goal g
  where g.contact_id = whose and g.name = remove_goal.name and g.workspace_id = found_workspace.id returning g.id into removed;
  if removed is null then return false; end if;
  delete from duly.progress p where p.goal_id = removed and p.workspace_id = found_workspace.id;
  perform duly.ask_plan_again(found_workspace.id, whose);
  return true;
end $$;

-- Writes progress towards many goals: a JSON array of objects with add_progress's parameter names. One row per item, by
-- position from 1: whether its key has been counted before, or what is wrong with it. A wrong item keeps no other back.
create function duly.add_progress_batch(workspace text, items jsonb)
returns table ("position" integer, repeated boolean, error text)
language plpgsql security definer set search_path = duly, pg_temp
as $$
declare
  found_workspace duly.workspace := duly.writable_workspace(workspace);
begin
  if items is null or jsonb_typeof(items) <> 'array' then
    raise exception 'items: must be a JSON array of objects' using errcode = '22023';
  end if;
  return query
  with given as materialized (
    select i.n, i.item, coalesce(
      duly.fields_problem(i.item, '{contact,goal,at,key}', '{255,200,40,255}', '{amount}'),
      case
        when i.item ->> 'contact' is null then 'contact: is missing'
        when i.item ->> 'goal' is null then 'goal: is missing'
        when jsonb_typeof(i.item -> 'amount') is distinct from 'number' then 'amount: must be a number'
        when octet_length(i.item ->> 'amount') > 40 or abs((i.item ->> 'amount')::numeric) >= 1e12 then
          'amount: must be a number below 1e12, of at most 40 digits'
        when i.item ->> 'key' = '' then 'key: must have 1 to 255 characters'
        when i.item ->> 'at' is not null and (
          duly.parse_time(i.item ->> 'at') is null or (i.item ->> 'at') !~ '[0-9]:[0-9]{2}.*(Z|[+-][0-9]{2}(:?[0-9]{2})?)$') then
          'at: must be a time with its zone, such as 2026-11-29T18:00:00Z'
        when not ((i.item ->> 'at')::timestamptz between '2000-01-01Z' and now() + interval '1 day') then
          'at: must be a time between the year 2000 and tomorrow'
      end) as problem
    from jsonb_array_elements(items) with ordinality i (item, n)
  ), known as materialized (
    select g.n, g.item, k.id as goal_id, coalesce(g.problem, case
      when c.id is null then format('contact: %L is no contact''s external_id in this workspace', left(g.item ->> 'contact', 100))
      when k.id is null then format('goal: %L is no goal of this contact', left(g.item ->> 'goal', 100)) end) as problem
    from given g
    left join lateral (
      select c.id from duly.contact c
      where c.workspace_id = found_workspace.id and c.external_id = g.item ->> 'contact' limit 1) c on true
    left join lateral (
      select k.id from duly.goal k
      where k.contact_id = c.id and k.name = g.item ->> 'goal' and k.workspace_id = found_workspace.id limit 1) k on true
  ), fresh as (
    insert into duly.progress (workspace_id, goal_id, amount, at, key)
    select found_workspace.id, k.goal_id, (k.item ->> 'amount')::numeric, coalesce((k.item ->> 'at')::timestamptz, now()),
           k.item ->> 'key'
    from (select distinct on (goal_id, item ->> 'key', case when item ->> 'key' is null then n end) *
          from known where problem is null order by goal_id, item ->> 'key', case when item ->> 'key' is null then n end, n) k
    on conflict (goal_id, key, workspace_id) where key is not null do nothing
    returning goal_id, key
  )
  select k.n::integer,
         case when k.problem is null then k.item ->> 'key' is not null
           and (f.key is null or k.n > min(k.n) over (partition by k.goal_id, k.item ->> 'key')) end,
         k.problem
  from known k left join fresh f on f.goal_id = k.goal_id and f.key = k.item ->> 'key'
  order by k.n;
end $$;

-- Writes progress towards a goal; the same key of a goal counts once. Whether it counts now. Raises 22023.
create function duly.add_progress(
  workspace text, contact text, goal text, amount numeric, at timestamptz default now(), key text default null
) returns boolean
language plpgsql security definer set search_path = duly, pg_temp
as $$
declare
  result record;
begin
  if not isfinite(at) then
    raise exception 'at: must be a finite time' using errcode = '22023';
  end if;
  select b.repeated, b.error into result from duly.add_progress_batch(workspace, jsonb_build_array(jsonb_build_object(
    'contact', contact, 'goal', goal, 'amount', amount, 'at', to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    'key', key))) b;
  if result.error is not null then
    raise exception '%', result.error using errcode = '22023';
  end if;
  return not result.repeated;
end $$;

-- Somebody's preferences (null: none were ever set) and goals, with what was done in the present period.
create function duly.goals_of(workspace text, contact text) returns jsonb
language plpgsql stable security definer set search_path = duly, pg_temp
as $$
#variable_conflict use_column
declare
  found_workspace duly.workspace := duly.writable_workspace(workspace);
  whose uuid := duly.contact_of(found_workspace, contact);
begin
  return (
    select jsonb_build_object(
      'contact', contact, 'time_zone', c.time_zone, 'max_per_week', c.max_per_week,
      'preferences', (
        select jsonb_build_object(
          'enabled', p.enabled,
          'send_day', ('{Monday,Tuesday,Wednesday,Thursday,Friday,Saturday,Sunday}'::text[])[p.send_day],
          'send_time', p.send_time, 'on_goal_met', p.on_goal_met, 'on_partial_goal', p.on_partial_goal, 'style', p.style,
          'channels', p.channels, 'priority', p.priority)
        from duly.preference p where p.contact_id = c.id and p.workspace_id = c.workspace_id),
      'goals', coalesce((
        select jsonb_agg(jsonb_build_object(
          'name', g.name, 'target', g.target, 'unit', g.unit, 'period', g.period, 'begins_on', g.begins_on,
          'ends_on', g.ends_on, 'done', coalesce((
            select sum(r.amount) from duly.progress r
            where r.goal_id = g.id and r.workspace_id = g.workspace_id
              and r.at >= date_trunc(g.period, now() at time zone z.name) at time zone z.name
              and r.at < (date_trunc(g.period, now() at time zone z.name) + ('1 ' || g.period)::interval) at time zone z.name),
            0)) order by g.name)
        from duly.goal g, (select coalesce(c.time_zone, 'UTC') as name) z
        where g.contact_id = c.id and g.workspace_id = c.workspace_id), '[]'))
    from duly.contact c where c.id = whose and c.workspace_id = found_workspace.id);
end $$;

-- Makes a series of check-ins, or changes the one of that name; null leaves a field as it is. It is for everybody with
-- preferences, at their own day and time. `templates`: kind → template, of met, partial and missed. Raises 22023.
create function duly.put_check_in(
  workspace text, name text, templates jsonb default null, category text default null, priority integer default null,
  channels text[] default null, catch_up text default null, earlier interval default null, later interval default null,
  enabled boolean default null
) returns uuid
language plpgsql security definer set search_path = duly, pg_temp
as $$
#variable_conflict use_column
declare
  found_workspace duly.workspace := duly.writable_workspace(workspace);
  usual jsonb := '{"met": "congratulatory", "partial": "partial", "missed": "accountability"}';
  found_id uuid;
  problem text := case
    when name is null or name !~ '^[a-z][a-z0-9_.-]{0,79}$' then
      'name: must be 1 to 80 small letters, digits, ., - and _, such as check-in'
    when jsonb_typeof(templates) <> 'object' or templates - '{met,partial,missed}'::text[] <> '{}' or exists (
      select from jsonb_each(templates) t
      where jsonb_typeof(t.value) <> 'string' or t.value #>> '{}' !~ '^[a-z][a-z0-9_.-]{0,79}(@[0-9]{1,9})?$') then
      'templates: must be a JSON object with the names of templates for met, partial and missed'
    when category is not null and (category !~ '^[a-z][a-z0-9_]{0,39}$' or category = 'opt_out_reply') then
      'category: must be 1 to 40 small letters, digits and underscores, such as accountability'
    when priority not between 0 and 3 then
      format('priority: %s is none of 1 (high), 2 (normal), 3 (bulk), 0 (by the kind of message)', priority)
    when duly.channels_problem(channels) is not null then duly.channels_problem(channels)
    when catch_up not in ('skip', 'latest', 'all') then format('catch_up: %L is none of skip, latest, all', left(catch_up, 40))
    when not (earlier between '0' and '7 days') then 'earlier: must be from 0 to 7 days'
    when not (later between '0' and '7 days') then 'later: must be from 0 to 7 days'
  end;
begin
  if problem is not null then
    raise exception '%', problem using errcode = '22023';
  end if;
  insert into duly.series as s
    (id, workspace_id, name, kind, templates, category, priority, channels, catch_up, earlier, later, enabled)
  values (duly.new_id(), found_workspace.id, put_check_in.name, 'check_in', usual || coalesce(put_check_in.templates, '{}'),
          put_check_in.category, nullif(put_check_in.priority, 0), coalesce(put_check_in.channels, '{}'),
          coalesce(put_check_in.catch_up, 'skip'), coalesce(put_check_in.earlier, '0'),
          coalesce(put_check_in.later, '4 hours'), coalesce(put_check_in.enabled, true))
  on conflict (workspace_id, name) do update
  set templates = s.templates || coalesce(put_check_in.templates, '{}'),
      category = coalesce(put_check_in.category, s.category),
      priority = case when put_check_in.priority is null then s.priority else nullif(put_check_in.priority, 0) end,
      channels = coalesce(put_check_in.channels, s.channels), catch_up = coalesce(put_check_in.catch_up, s.catch_up),
      earlier = coalesce(put_check_in.earlier, s.earlier), later = coalesce(put_check_in.later, s.later),
      enabled = coalesce(put_check_in.enabled, s.enabled)
  where s.kind = 'check_in'
  returning s.id into found_id;
  if found_id is null then
    raise exception 'name: % is a series of reminders; choose another name', quote_literal(name) using errcode = '22023';
  end if;
  return found_id;
end $$;

-- Queues what the daemon has planned and rendered, in the caller's transaction: a JSON array of objects with `source_id`,
-- `source`, `contact`, `occurrence`, and either `reason` (nothing is sent) or `channel`, `to`, `address_key` (where it is
-- known: of just that channel and address), `body`, `category`, `priority`, `due_at`, `earliest`, `latest`, `expires_at`, `template` (name@version), `text_id`, `variables`, `metadata`;
-- besides `kind`, `style`, `wished_at` (else it is `due_at`), `because`. One row per item, by position from 1: its
-- delivery, or what is wrong with it. What was decided before stays, and is answered as `repeated`. An item that is wrong
-- is noted as one without a delivery. One statement for all, as duly.enqueue_checked does for one; where the workspace
-- has a window for duplicates, each by itself.
create function duly.enqueue_planned(workspace integer, items jsonb)
returns table ("position" integer, id uuid, repeated boolean, error text)
language plpgsql security definer set search_path = duly, pg_temp
as $$
#variable_conflict use_column
declare
  found_workspace duly.workspace;
  lane record;
  first uuid := duly.new_id();
begin
  select w.* into strict found_workspace from duly.workspace w where w.id = workspace;
  update duly.template t set used_at = now()
  where t.workspace_id = found_workspace.id and t.used_at is null and (t.name, t.version) in (
    select split_part(i ->> 'template', '@', 1), split_part(i ->> 'template', '@', 2)::integer
    from jsonb_array_elements(items) i where i ->> 'template' like '%@%' group by 1, 2);
  if found_workspace.duplicate_window is not null then
    return query select s.* from duly.enqueue_planned_singly(found_workspace, items) s;
    return;
  end if;
  return query
  with given as materialized (
    select i.*, duly.new_id() as new_id
    from rows from (jsonb_to_recordset(items) as (
      source_id uuid, source text, contact uuid, occurrence timestamp, reason text, kind text, style text, text_id uuid,
      channel text, "to" text, address_key uuid, body text, category text, priority integer, due_at timestamptz, wished_at timestamptz,
      earliest timestamptz, latest timestamptz, expires_at timestamptz, template text, variables jsonb, metadata jsonb,
      because jsonb)) with ordinality
      as i (source_id, source, contact, occurrence, reason, kind, style, text_id, channel, "to", address_key, body, category,
            priority, due_at, wished_at, earliest, latest, expires_at, template, variables, metadata, because, n)
  ), whole as materialized (
    select g.n, g.source_id, g.source, g.contact, g.occurrence, g.reason, g.kind, g.style, g.text_id, g.channel, g."to", g.address_key,
           case when found_workspace.footers is null then g.body
                else duly.with_footer(found_workspace, coalesce(g.category, 'transactional'), g.body, g.metadata ->> 'language') end as body,
           coalesce(g.category, 'transactional') as category, coalesce(g.priority, 2) as priority, g.due_at, g.wished_at,
           g.earliest, g.latest, g.expires_at, g.template, coalesce(nullif(g.variables, 'null'), '{}') as variables,
           coalesce(nullif(g.metadata, 'null'), '{}') as metadata, g.because, g.new_id
    from given g
  ), checked as materialized (
    select w.*, case when w.reason is null then coalesce(
      duly.problem(w.channel, w."to", w.body, w.due_at, w.priority, null, w.category, w.expires_at, w.template,
                   w.variables, w.metadata),
      duly.category_problem(w.category)) end as problem
    from whole w
  ), decided as (
    insert into duly.planned as p
      (source_id, contact_id, occurrence, workspace_id, source, delivery_id, reason, kind, style, text_id, wished_at, earliest,
       latest, because)
    select c.source_id, c.contact, c.occurrence, found_workspace.id, c.source,
           case when c.reason is null and c.problem is null then c.new_id end, coalesce(c.reason, left(c.problem, 200)),
           coalesce(c.kind, ''), coalesce(c.style, ''), c.text_id, coalesce(c.wished_at, c.due_at), c.earliest, c.latest,
           coalesce(nullif(c.because, 'null'), '{}')
    from checked c
    on conflict do nothing
    returning p.source_id, p.contact_id, p.occurrence, p.delivery_id
  ), wanted as materialized (
    select c.*, k.key, (
      select s.reason from duly.suppression s
      where s.address_key = k.key and s.workspace_id in (found_workspace.id, 0) and s.channel in ('', c.channel)
        and s.category in ('', c.category) and s.account = ''
      limit 1) as stop
    from checked c
    join decided d on d.delivery_id = c.new_id
    cross join lateral (
      select coalesce(c.address_key, duly.address_hash(h.inner_pad, h.outer_pad, c.channel, c."to")) as key
      from duly.hash_key h offset 0) k
  ), message as (
    insert into duly.message (id, workspace_id, body, category, template, text_id, variables, metadata, sealed_with)
    select w.new_id, found_workspace.id, w.body, w.category, w.template, w.text_id, w.variables, w.metadata,
           case when found_workspace.seal then 0 end
    from wanted w
  ), delivery as (
    insert into duly.delivery_row
      (id, workspace_id, message_id, channel, "to", address_key, priority, due_at, expires_at, segments, state, reason,
       detail, sealed_with)
    select w.new_id, found_workspace.id, w.new_id, w.channel::duly.channel, w."to", w.key, w.priority, w.due_at,
           w.expires_at, case when w.channel <> 'sms' or octet_length(w.body) <= 70 then 1 else duly.segments(w.body) end,
           (case when w.stop is null then 'queued' else 'skipped' end)::duly.state, w.stop,
           case when w.stop is not null then 'suppression: found when it was queued' end,
           case when found_workspace.seal then 0 end
    from wanted w
  )
  select c.n::integer, coalesce(d.delivery_id, before.delivery_id), d.source_id is null,
         case when d.source_id is null then before.reason else c.problem end
  from checked c
  left join decided d on d.source_id = c.source_id and d.contact_id = c.contact and d.occurrence = c.occurrence
  left join lateral (
    select p.delivery_id, p.reason from duly.planned p
    where d.source_id is null and p.source_id = c.source_id and p.contact_id = c.contact and p.occurrence = c.occurrence
      and p.workspace_id = found_workspace.id limit 1) before on true
  order by c.n;
  for lane in
    select i ->> 'channel' as channel, coalesce((i ->> 'priority')::integer, 2) as priority, min((i ->> 'due_at')::timestamptz) as due_at
    from jsonb_array_elements(items) i where i ->> 'reason' is null and i ->> 'channel' is not null group by 1, 2
  loop
    perform duly.tell(found_workspace.id, lane.channel, lane.priority, lane.due_at);
  end loop;
  perform duly.forget_erased(found_workspace.id, first, duly.new_id());
end $$;

-- The same, one by one.
create function duly.enqueue_planned_singly(workspace duly.workspace, items jsonb)
returns table ("position" integer, id uuid, repeated boolean, error text)
language plpgsql
as $$
#variable_conflict use_variable
declare
  item jsonb;
  result record;
begin
  "position" := 0;
  for item in select i.value from jsonb_array_elements(items) i loop
    "position" := "position" + 1;
    id := null;
    error := null;
    insert into duly.planned as p
      (source_id, contact_id, occurrence, workspace_id, source, reason, kind, style, text_id, wished_at, earliest, latest, because)
    values ((item ->> 'source_id')::uuid, (item ->> 'contact')::uuid, (item ->> 'occurrence')::timestamp, workspace.id,
            item ->> 'source', item ->> 'reason', coalesce(item ->> 'kind', ''), coalesce(item ->> 'style', ''),
            (item ->> 'text_id')::uuid, coalesce(item ->> 'wished_at', item ->> 'due_at')::timestamptz,
            (item ->> 'earliest')::timestamptz, (item ->> 'latest')::timestamptz,
            coalesce(nullif(item -> 'because', 'null'), '{}'))
    on conflict do nothing;
    repeated := not found;
    if repeated then
      select p.delivery_id, p.reason into id, error from duly.planned p
      where p.source_id = (item ->> 'source_id')::uuid and p.contact_id = (item ->> 'contact')::uuid
        and p.occurrence = (item ->> 'occurrence')::timestamp and p.workspace_id = workspace.id;
    elsif item ->> 'reason' is null then
      result := duly.enqueue_checked(
        workspace, item ->> 'channel', item ->> 'to', item ->> 'body', (item ->> 'due_at')::timestamptz,
        coalesce((item ->> 'priority')::integer, 2), null, coalesce(item ->> 'category', 'transactional'),
        (item ->> 'expires_at')::timestamptz, item ->> 'template',
        coalesce(nullif(item -> 'variables', 'null'), '{}'), coalesce(nullif(item -> 'metadata', 'null'), '{}'),
        (item ->> 'text_id')::uuid);
      id := result.id;
      error := result.error;
      update duly.planned p set delivery_id = result.id, reason = case when result.id is null then left(result.error, 200) end
      where p.source_id = (item ->> 'source_id')::uuid and p.contact_id = (item ->> 'contact')::uuid
        and p.occurrence = (item ->> 'occurrence')::timestamp and p.workspace_id = workspace.id;
    end if;
    return next;
  end loop;
end $$;

-- Says something else in planned deliveries that are leased: a JSON array of objects with `id`, `workspace_id`,
-- `lease_token`, `body`, `category`, `template`, `text_id`, `variables`, `metadata`, `kind`, `because` and `rulings`, for
-- the receipt. Answers those that are still leased under their token, as they are now; of the others nothing is changed.
create function duly.reword(items jsonb) returns table (id uuid, body text, segments smallint)
language plpgsql security definer set search_path = duly, pg_temp
as $$
#variable_conflict use_column
declare
  item record;
  owner duly.workspace;
begin
  for item in
    select i.* from jsonb_to_recordset(items) as i (
      id uuid, workspace_id integer, lease_token bigint, body text, category text, template text, text_id uuid,
      variables jsonb, metadata jsonb, kind text, style text, because jsonb, rulings jsonb)
    order by i.id
  loop
    select w.* into strict owner from duly.workspace w where w.id = item.workspace_id;
    body := duly.with_footer(owner, item.category, item.body, item.metadata ->> 'language');
    update duly.delivery_row d
    set segments = case when d.channel = 'sms' then duly.segments(body) else 1 end
    where d.id = item.id and d.workspace_id = item.workspace_id and d.state = 'leased' and d.lease_token = item.lease_token
    returning d.segments into segments;
    continue when not found;
    update duly.message m
    set body = reword.body, category = item.category, template = item.template, text_id = item.text_id,
        variables = item.variables, metadata = item.metadata, sealed = null, sealed_with = case when owner.seal then 0 end
    where m.id = item.id and m.workspace_id = item.workspace_id;
    update duly.planned p
    set kind = item.kind, style = item.style, text_id = item.text_id, because = p.because || item.because
    where p.delivery_id = item.id and p.workspace_id = item.workspace_id;
    insert into duly.ruling (delivery_id, workspace_id, stage, became, rulings)
    select item.id, item.workspace_id, 'leased', 'leased', item.rulings
    where (select count(*) from duly.ruling g where g.delivery_id = item.id) < 100;
    update duly.template t set used_at = now()
    where t.workspace_id = item.workspace_id and t.used_at is null and t.name = split_part(item.template, '@', 1)
      and t.version = split_part(item.template, '@', 2)::integer;
    id := item.id;
    return next;
  end loop;
end $$;

-- Removes what was decided, done and run longer ago than `keep`, at most `how_many` rows of each; how many of all. Of
-- a person under a legal hold nothing is removed. What was decided goes with its delivery, not before.
create function duly.remove_old_plans(workspaces integer[], keep interval, how_many integer) returns bigint
language plpgsql security definer set search_path = duly, pg_temp
as $$
declare
  removed bigint := 0;
  gone bigint;
begin
  perform duly.check_keep(keep);
  delete from duly.planned p where p.ctid in (
    select o.ctid from duly.planned o
    where o.at < now() - keep and o.workspace_id = any (workspaces)
      and (o.delivery_id is null or not exists (
        select from duly.delivery_row d where d.id = o.delivery_id and d.workspace_id = o.workspace_id))
      and duly.held_for(o.workspace_id, array(
        select a.address_key from duly.address a where a.contact_id = o.contact_id and a.workspace_id = o.workspace_id)) is null
    limit how_many for update skip locked);
  get diagnostics gone = row_count;
  removed := removed + gone;
  delete from duly.progress r where r.ctid in (
    select o.ctid from duly.progress o
    where o.recorded_at < now() - keep and o.at < now() - keep and o.workspace_id = any (workspaces)
      and duly.held_for(o.workspace_id, array(
        select a.address_key from duly.address a join duly.goal g on g.contact_id = a.contact_id
        where g.id = o.goal_id and a.workspace_id = o.workspace_id)) is null
    limit how_many for update skip locked);
  get diagnostics gone = row_count;
  removed := removed + gone;
  delete from duly.plan_run r where r.ctid in (
    select o.ctid from duly.plan_run o
    where o.done_at < now() - keep and o.workspace_id = any (workspaces) limit how_many for update skip locked);
  get diagnostics gone = row_count;
  return removed + gone;
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
select duly.protect('{template,template_text,preference,plan_again,goal,progress,series,series_member,plan_run,planned}');

revoke all on all functions in schema duly from public;
grant execute on function
  duly.enqueue_planned(integer, jsonb), duly.enqueue_rendered(jsonb, jsonb), duly.person_at(integer, text, text),
  duly.texts_said(integer, uuid, uuid[]), duly.template_version(integer, text),
  duly.save_template(text, text, jsonb, boolean, boolean, jsonb), duly.plan_afresh(integer, uuid[]), duly.reword(jsonb),
  duly.remove_old_plans(integer[], interval, integer)
  to duly_daemon;
grant execute on function
  duly.put_template(text, text, text, jsonb, text, text, boolean, boolean, jsonb),
  duly.set_template_state(text, text, text), duly.delete_template(text, text),
  duly.upload_begin(text, text, bytea, text, text, timestamptz, integer, text, timestamptz, jsonb, text),
  duly.upload_lines(uuid, bigint, bigint, bigint[], text[], text[], timestamptz[], integer[], text[], text[],
                    timestamptz[], text[], text[], text[], uuid[]),
  duly.set_preference(text, text, boolean, text, text, boolean, boolean, text, text[], integer),
  duly.set_goal(text, text, text, numeric, text, text, date, date), duly.add_progress(text, text, text, numeric, timestamptz, text),
  duly.add_progress_batch(text, jsonb), duly.remove_goal(text, text, text),
  duly.put_check_in(text, text, jsonb, text, integer, text[], text, interval, interval, boolean),
  duly.goals_of(text, text)
  to duly_producer, duly_daemon;
grant select on duly.template, duly.template_text, duly.preference, duly.plan_again, duly.goal, duly.progress, duly.series,
  duly.series_member, duly.plan_run, duly.planned to duly_daemon;
grant insert, update on duly.plan_run, duly.planned to duly_daemon;
grant update, delete on duly.plan_again to duly_daemon;
