-- What producers call. All of it is SECURITY DEFINER: a producer has no right on any table.

-- The role that called, seen from inside a SECURITY DEFINER function: the one set by SET ROLE, else the login.
create function duly.caller() returns name
language sql stable parallel safe
as $$
  select (case current_setting('role') when 'none' then session_user::text else current_setting('role') end)::name
$$;

-- The workspaces that the caller may write to. A login that was dropped may still be listed, and is nobody.
create function duly.writable_workspaces() returns setof integer
language sql stable security definer set search_path = duly, pg_temp
as $$
  select id from duly.workspace where pg_has_role(duly.caller(), 'duly_daemon', 'usage')
  union
  select p.workspace_id from duly.producer p join pg_roles r on r.rolname = p.login
  where pg_has_role(duly.caller(), r.oid, 'usage')
$$;

-- The workspaces whose deliveries the caller may see.
create function duly.visible_workspaces() returns setof integer
language sql stable security definer set search_path = duly, pg_temp
as $$
  select id from duly.workspace where pg_has_role(duly.caller(), 'duly_reader', 'usage')
  union
  select duly.writable_workspaces()
$$;

-- Makes a workspace known, or changes its settings. Returns its id.
create function duly.register_workspace(name text, duplicate_window interval default null) returns integer
language plpgsql security definer set search_path = duly, pg_temp
as $$
declare
  found_id integer;
begin
  if name is null or name !~ '^[A-Za-z0-9._-]{1,100}$' then
    raise exception 'name: a workspace''s name is 1 to 100 letters, digits, dots, dashes and underscores'
      using errcode = '22023';
  end if;
  select w.id into found_id from duly.workspace w
  where w.name = register_workspace.name
    and w.duplicate_window is not distinct from register_workspace.duplicate_window;
  if found_id is null then
    insert into duly.workspace as w (name, duplicate_window)
    values (register_workspace.name, register_workspace.duplicate_window)
    on conflict on constraint workspace_name_key do update set duplicate_window = excluded.duplicate_window
    returning w.id into found_id;
  end if;
  return found_id;
end $$;

-- Lets a login write to and read a workspace. The login also needs the role duly_producer.
create function duly.allow_producer(login name, workspace text) returns void
language plpgsql security definer set search_path = duly, pg_temp
as $$
begin
  if not exists (select from pg_roles where rolname = allow_producer.login) then
    raise exception 'login: there is no role "%"', login using errcode = '22023';
  end if;
  insert into duly.producer (login, workspace_id)
  select allow_producer.login, w.id from duly.workspace w where w.name = allow_producer.workspace
  on conflict do nothing;
  if not found and not exists (select from duly.workspace w where w.name = allow_producer.workspace) then
    raise exception 'workspace: "%" is not known', workspace
      using errcode = '22023', hint = 'Call duly.register_workspace first.';
  end if;
end $$;

-- What a carrier counts: GSM-7 text is 160 units alone and 153 a part, anything else 70 and 67 UTF-16 units;
-- an escape pair or a surrogate pair is never split between parts (3GPP TS 23.038, 23.040).
-- The same as daemon/rules/segments.py; a test holds them together.
create function duly.segments(body text) returns integer
language plpgsql immutable parallel safe strict
as $$
declare
  gsm constant text := E'^[@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !"#¤%&''()*+,./0-9:;<=>?¡A-ZÄÖÑÜ§¿a-zäöñüà^{}\\\\[~\\]|€\f-]*$';
  wide_pattern text;
  wide integer;
  units integer;
  alone integer;
  part integer;
  parts integer := 1;
  room integer;
  width integer;
  letter text;
begin
  if body ~ gsm then
    wide_pattern := E'[\\^{}\\\\[~\\]|€\f]';
    alone := 160; part := 153;
  else
    wide_pattern := E'[\U00010000-\U0010FFFF]';
    alone := 70; part := 67;
  end if;
  units := char_length(body);
  if units * 2 <= alone then return 1; end if;
  wide := char_length(body) - char_length(regexp_replace(body, wide_pattern, '', 'g'));
  units := units + wide;
  if units <= alone then return 1; end if;
  if wide = 0 then return (units + part - 1) / part; end if;
  room := part;
  foreach letter in array regexp_split_to_array(body, '') loop
    width := case when letter ~ wide_pattern then 2 else 1 end;
    if width > room then
      parts := parts + 1;
      room := part;
    end if;
    room := room - width;
  end loop;
  return parts;
end $$;

-- What is wrong with a delivery, as "field: what, and what would be right"; null where nothing is.
create function duly.problem(
  channel text, "to" text, body text, due_at timestamptz, priority integer, idempotency_key text,
  category text, expires_at timestamptz, template text, variables jsonb, metadata jsonb
) returns text
language plpgsql stable parallel safe
as $$
declare
  media jsonb := metadata -> 'media_urls';
  longest integer;
begin
  if channel is null or channel not in ('sms', 'whatsapp', 'rcs', 'telegram', 'email', 'push', 'in_app') then
    return format('channel: %s is none of sms, whatsapp, rcs, telegram, email, push, in_app', coalesce(quote_literal(left(channel, 40)), 'null'));
  end if;
  if "to" is null or "to" = '' then
    return 'to: is missing';
  elsif channel in ('sms', 'whatsapp', 'rcs') and "to" !~ '^\+[1-9][0-9]{6,14}$' then
    return format('to: %L is not an E.164 number such as +14155550123', left("to", 40));
  elsif channel = 'email' and ("to" !~ '^[^@[:space:][:cntrl:]]{1,64}@[^@[:space:][:cntrl:]]{1,255}$') then
    return format('to: %L is not a mail address', left("to", 40));
  elsif char_length("to") > 1000 or "to" ~ '[[:cntrl:]]' then
    return 'to: is longer than 1000 characters or has control characters';
  end if;
  if media is not null then
    if channel not in ('sms', 'whatsapp', 'rcs') then
      return format('metadata.media_urls: %s takes no media', channel);
    elsif jsonb_typeof(media) <> 'array' or jsonb_array_length(media) not between 1 and 10 then
      return 'metadata.media_urls: must be a list of 1 to 10 URLs';
    elsif exists (
      select from jsonb_array_elements(media) u
      where jsonb_typeof(u) <> 'string' or char_length(u #>> '{}') > 2000
        or u #>> '{}' !~ '^https?://[^[:space:]]+$'
    ) then
      return 'metadata.media_urls: each must be an http or https URL of at most 2000 characters';
    end if;
  end if;
  if template is not null then
    return 'template: there are no templates yet; give the text as body';
  end if;
  if body is null or (body ~ '^[[:space:]]*$' and media is null) then
    return 'body: is empty';
  end if;
  longest := case channel when 'telegram' then 4096 when 'email' then 500000 when 'push' then 4000
                          when 'in_app' then 20000 else 1600 end;
  if char_length(body) > longest then
    return format('body: has %s characters; %s takes at most %s', char_length(body), channel, longest);
  end if;
  if due_at is null or due_at < '2000-01-01Z' or due_at > now() + interval '5 years' then
    return 'due_at: must be a time between the year 2000 and five years from now';
  end if;
  if expires_at is not null then
    if not isfinite(expires_at) then
      return 'expires_at: must be a finite time, or null for never';
    elsif expires_at <= due_at then
      return 'expires_at: must be later than due_at';
    elsif expires_at <= now() then
      return 'expires_at: has passed already';
    end if;
  end if;
  if priority is null or priority not between 1 and 3 then
    return format('priority: %s is none of 1 (high), 2 (normal), 3 (bulk)', coalesce(priority::text, 'null'));
  end if;
  if idempotency_key is not null and char_length(idempotency_key) not between 1 and 255 then
    return 'idempotency_key: must have 1 to 255 characters';
  end if;
  if category is null or category !~ '^[a-z][a-z0-9_]{0,39}$' then
    return 'category: must be 1 to 40 small letters, digits and underscores, such as transactional';
  end if;
  if variables is null or jsonb_typeof(variables) <> 'object' then
    return 'variables: must be a JSON object';
  end if;
  if metadata is null or jsonb_typeof(metadata) <> 'object' then
    return 'metadata: must be a JSON object';
  end if;
  if pg_column_size(variables) + pg_column_size(metadata) > 65536 then
    return 'metadata: variables and metadata together are larger than 64 KiB';
  end if;
  return null;
end $$;

-- The one place that queues: a new delivery's id, the id that this idempotency key has already, or an error.
create function duly.enqueue_checked(
  workspace duly.workspace, channel text, "to" text, body text, due_at timestamptz, priority integer,
  idempotency_key text, category text, expires_at timestamptz, template text, variables jsonb, metadata jsonb,
  out id uuid, out error text
)
language plpgsql
as $$
#variable_conflict use_column
declare
  new_id uuid;
  hash bytea;
  other record;
begin
  error := duly.problem(channel, "to", body, due_at, priority, idempotency_key, category, expires_at,
                        template, variables, metadata);
  if error is not null then return; end if;

  new_id := duly.new_id();
  if idempotency_key is not null or workspace.duplicate_window is not null then
    hash := sha256(convert_to(
      jsonb_build_array(channel, "to", body, category, template, variables, metadata)::text, 'UTF8'));
  end if;

  insert into duly.message as m
    (id, workspace_id, body, category, template, variables, metadata, idempotency_key, content_hash)
  values (new_id, workspace.id, body, category, template, variables, metadata, idempotency_key, hash)
  on conflict (workspace_id, idempotency_key) where idempotency_key is not null do nothing;
  if not found then
    select m.id, m.content_hash into other from duly.message m
    where m.workspace_id = workspace.id and m.idempotency_key = enqueue_checked.idempotency_key;
    if other.content_hash = hash then
      id := other.id;
    else
      error := 'idempotency_key: was already used for a message with other content';
    end if;
    return;
  end if;

  if workspace.duplicate_window is not null then
    insert into duly.recent_content as r (workspace_id, digest, delivery_id, at)
    values (workspace.id, sha256(convert_to(jsonb_build_array(channel, "to", body)::text, 'UTF8')), new_id, now())
    on conflict (workspace_id, digest) do update set at = now(), delivery_id = excluded.delivery_id
      where r.at <= now() - workspace.duplicate_window;
    if not found then
      delete from duly.message m where m.id = new_id and m.workspace_id = workspace.id;
      error := format('body: equal content went to this address less than %s ago', workspace.duplicate_window);
      return;
    end if;
  end if;

  insert into duly.delivery_row
    (id, workspace_id, message_id, channel, "to", priority, due_at, expires_at, segments)
  values (new_id, workspace.id, new_id, channel::duly.channel, "to", priority, due_at, expires_at,
          case when channel = 'sms' then duly.segments(body) else 1 end);

  -- Whatever is due later than this, the fetcher's own look finds in time: it comes at least every 10 s.
  if due_at < now() + interval '15 seconds' then
    perform pg_notify('duly', format('%s %s %s %s', workspace.id, channel, priority,
      greatest(0, ceil(extract(epoch from due_at - now()) * 1000))::bigint));
  end if;
  id := new_id;
end $$;

-- The workspace of that name if the caller may write to it; an error that tells a stranger nothing otherwise.
create function duly.writable_workspace(name text) returns duly.workspace
language plpgsql stable security definer set search_path = duly, pg_temp
as $$
declare
  found_row duly.workspace;
begin
  select w.* into found_row from duly.workspace w
  where w.name = writable_workspace.name
    and (pg_has_role(duly.caller(), 'duly_daemon', 'usage')
      or exists (select from duly.producer p join pg_roles r on r.rolname = p.login
                 where p.workspace_id = w.id and pg_has_role(duly.caller(), r.oid, 'usage')));
  if not found then
    raise exception 'workspace: % is not a workspace that % may write to', coalesce(quote_literal(left(name, 100)), 'null'), duly.caller()
      using errcode = '22023',
            hint = 'Add [workspaces.NAME] to the TOML or call duly.register_workspace, then duly.allow_producer.';
  end if;
  return found_row;
end $$;

-- Queues one delivery in the caller's own transaction and returns its id. `priority` is an integer so that a
-- plain 1 fits; a smallint does too. Raises 22023 with "field: what is wrong".
create function duly.enqueue(
  workspace text, channel text, "to" text, body text, due_at timestamptz default now(),
  priority integer default 2, idempotency_key text default null, category text default 'transactional',
  expires_at timestamptz default null, template text default null, variables jsonb default '{}',
  metadata jsonb default '{}'
) returns uuid
language plpgsql security definer set search_path = duly, pg_temp
as $$
declare
  result record;
begin
  select * into result from duly.enqueue_checked(
    duly.writable_workspace(workspace), channel, "to", body, due_at, priority, idempotency_key, category,
    expires_at, template, variables, metadata);
  if result.error is not null then
    raise exception '%', result.error using errcode = '22023';
  end if;
  return result.id;
end $$;

-- A time out of a JSON text, or null where it is none. The cast may raise, so it has its own block.
create function duly.parse_time(word text) returns timestamptz
language plpgsql stable
as $$
begin
  return word::timestamptz;
exception when others then
  return null;
end $$;

-- What is wrong with the JSON types of a batch's item, before anything of it is cast.
create function duly.item_problem(item jsonb) returns text
language plpgsql stable
as $$
declare
  key text;
  kind text;
begin
  if jsonb_typeof(item) <> 'object' then
    return 'item: must be a JSON object';
  end if;
  for key, kind in select k, jsonb_typeof(v) from jsonb_each(item) as e(k, v) loop
    if key not in ('workspace', 'channel', 'to', 'body', 'due_at', 'priority', 'idempotency_key', 'category',
                   'expires_at', 'template', 'variables', 'metadata') then
      return format('%s: is no field of a delivery', left(key, 40));
    elsif key = 'priority' and (kind not in ('number', 'null') or kind = 'number' and item ->> key not in ('1', '2', '3')) then
      return 'priority: must be 1 (high), 2 (normal) or 3 (bulk)';
    elsif key in ('due_at', 'expires_at') and kind <> 'null'
          and (kind <> 'string' or duly.parse_time(item ->> key) is null) then
      return format('%s: must be a time such as 2026-01-31T18:00:00+01:00', key);
    elsif key not in ('priority', 'variables', 'metadata') and kind not in ('string', 'null') then
      return format('%s: must be a text', key);
    end if;
  end loop;
  return null;
end $$;

-- Queues many: a JSON array of objects with enqueue's parameter names. One row per item, by position from 1:
-- its id, or what is wrong with it. A wrong item does not keep the others back.
create function duly.enqueue_batch(items jsonb) returns table ("position" integer, id uuid, error text)
language plpgsql security definer set search_path = duly, pg_temp
as $$
declare
  item jsonb;
  workspace duly.workspace;
  result record;
begin
  if items is null or jsonb_typeof(items) <> 'array' then
    raise exception 'items: must be a JSON array of objects' using errcode = '22023';
  end if;
  "position" := 0;
  for item in select value from jsonb_array_elements(items) loop
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
    if error is null then
      select * into result from duly.enqueue_checked(
        workspace, item ->> 'channel', item ->> 'to', item ->> 'body',
        coalesce((item ->> 'due_at')::timestamptz, now()), coalesce((item ->> 'priority')::integer, 2),
        item ->> 'idempotency_key', coalesce(item ->> 'category', 'transactional'),
        (item ->> 'expires_at')::timestamptz, item ->> 'template',
        coalesce(nullif(item -> 'variables', 'null'), '{}'), coalesce(nullif(item -> 'metadata', 'null'), '{}'));
      id := result.id;
      error := result.error;
    end if;
    return next;
  end loop;
end $$;

-- Cancels a delivery whose call has not begun. True: it will not be sent (also if it was canceled before);
-- false: too late, or it had already ended otherwise. Raises P0002 for an id that is in none of the caller's workspaces.
create function duly.cancel(id uuid) returns boolean
language plpgsql security definer set search_path = duly, pg_temp
as $$
declare
  present duly.state;
begin
  update duly.delivery_row d
  set state = 'canceled', reason = 'canceled', state_at = now(), lease_token = null, node_id = null
  where d.id = cancel.id and d.state in ('queued', 'leased')
    and d.workspace_id in (select duly.writable_workspaces());
  if found then return true; end if;
  select d.state into present from duly.delivery_row d
  where d.id = cancel.id and d.workspace_id in (select duly.writable_workspaces());
  if not found then
    raise exception 'id: there is no delivery %', id using errcode = 'P0002';
  end if;
  return present = 'canceled';
end $$;
