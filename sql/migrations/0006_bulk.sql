-- Campaigns: a file of recipients, queued in chunks that can be repeated, at nearly the speed of a COPY.

-- The most characters that a channel's text may have; none has less than 1600.
create function duly.longest_body(channel text) returns integer
language sql immutable parallel safe
as $$
  select case channel when 'telegram' then 4096 when 'email' then 500000 when 'push' then 4000 when 'in_app' then 20000
                      else 1600 end
$$;

-- What is wrong with the pictures of a delivery. A function of its own, because of the look at each of them.
create function duly.media_problem(channel text, media jsonb) returns text
language plpgsql immutable parallel safe
as $$
begin
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
  return null;
end $$;

-- The same answers as before, now as one expression: Postgres puts it into the statement that asks, so that a
-- million rows are checked without a function call each. Lengths are counted beside the patterns and not in them:
-- {0,39} in a pattern costs ten times as much.
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
    when template is not null then 'template: there are no templates yet; give the text as body'
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

-- Tells the daemons of what is due soon. Whatever is due later, the fetcher's own look finds in time: it comes at
-- least every 10 s.
create function duly.tell(workspace_id integer, channel text, priority integer, due_at timestamptz) returns void
language plpgsql
as $$
begin
  if due_at < now() + interval '15 seconds' then
    perform pg_notify('duly', format('%s %s %s %s', workspace_id, channel, priority,
      greatest(0, ceil(extract(epoch from due_at - now()) * 1000))::bigint));
  end if;
end $$;

-- The one place that queues one: a new delivery's id, the id that this idempotency key has already, or an error.
-- As before, but what has neither a key nor a window to look into is written by one statement.
create or replace function duly.enqueue_checked(
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
  if idempotency_key is null and workspace.duplicate_window is null then
    with message as (
      insert into duly.message (id, workspace_id, body, category, template, variables, metadata)
      values (new_id, workspace.id, body, category, template, variables, metadata)
    )
    insert into duly.delivery_row (id, workspace_id, message_id, channel, "to", priority, due_at, expires_at, segments)
    values (new_id, workspace.id, new_id, channel::duly.channel, "to", priority, due_at, expires_at,
            case when channel <> 'sms' or octet_length(body) <= 70 then 1 else duly.segments(body) end);
    perform duly.tell(workspace.id, channel, priority, due_at);
    id := new_id;
    return;
  end if;

  hash := sha256(convert_to(
    jsonb_build_array(channel, "to", body, category, template, variables, metadata)::text, 'UTF8'));

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

  perform duly.tell(workspace.id, channel, priority, due_at);
  id := new_id;
end $$;

-- Only asked by functions that have their owner's rights and path already.
alter function duly.writable_workspace(text) security invoker reset all;

-- As before; an assignment costs a third less than a select from the function.
create or replace function duly.enqueue(
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
  result := duly.enqueue_checked(
    duly.writable_workspace(workspace), channel, "to", body, due_at, priority, idempotency_key, category,
    expires_at, template, variables, metadata);
  if result.error is not null then
    raise exception '%', result.error using errcode = '22023';
  end if;
  return result.id;
end $$;

-- A file of recipients: how far it has been queued. The key names it within its workspace, and the digest says
-- what it was: the file's content and everything else that decides what is sent.
create table duly.upload (
  id uuid not null,
  workspace_id integer not null,
  key text not null check (char_length(key) between 1 and 255),
  digest bytea not null,
  message_id uuid,                      -- the one message of all its deliveries; null: each line has its own
  channel duly.channel not null,
  -- For each line that does not say otherwise. due_at null: at once.
  due_at timestamptz,
  priority smallint not null,
  category text not null,
  expires_at timestamptz,
  metadata jsonb not null,
  line_done bigint not null default 0,  -- everything up to this line was queued or refused
  queued bigint not null default 0,
  began_at timestamptz not null default now(),
  moved_at timestamptz not null default now(),
  ended_at timestamptz,
  primary key (id, workspace_id)
);
create unique index upload_key on duly.upload (workspace_id, key);

create table duly.upload_refusal (
  upload_id uuid not null,
  line bigint not null,
  workspace_id integer not null,
  error text not null,
  primary key (upload_id, line, workspace_id)
);

-- Begins an upload, or finds the one that this key has already. `body` is the one text of all, or null where each
-- line brings its own. Raises 22023 with "field: what is wrong", also for a key of another content.
create function duly.upload_begin(
  workspace text, key text, digest bytea, channel text, body text default null, due_at timestamptz default null,
  priority integer default 3, category text default 'transactional', expires_at timestamptz default null,
  metadata jsonb default '{}'
) returns table (id uuid, line_done bigint, queued bigint)
language plpgsql security definer set search_path = duly, pg_temp
as $$
#variable_conflict use_column
declare
  found_workspace duly.workspace := duly.writable_workspace(workspace);
  new_id uuid := duly.new_id();
  problem text;
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
      channel, case channel when 'email' then 'a@example.com' else '+14155550123' end, coalesce(body, 'x'),
      coalesce(due_at, now()), priority, null, category, expires_at, null, '{}', metadata);
    if problem is not null then
      raise exception '%', problem using errcode = '22023';
    end if;
    insert into duly.upload (id, workspace_id, key, digest, message_id, channel, due_at, priority, category, expires_at, metadata)
    values (new_id, found_workspace.id, key, digest, case when body is not null then new_id end,
            channel::duly.channel, due_at, priority, category, expires_at, metadata)
    on conflict (workspace_id, key) do nothing;
    if found and body is not null then
      insert into duly.message (id, workspace_id, body, category, metadata)
      values (new_id, found_workspace.id, body, category, metadata);
    end if;
    select * into found_upload from duly.upload u where u.workspace_id = found_workspace.id and u.key = upload_begin.key;
  end if;
  if found_upload.digest <> digest then
    raise exception 'key: % was used at % for another file or with other options, and % deliveries were queued',
      quote_literal(key), to_char(found_upload.began_at, 'YYYY-MM-DD HH24:MI:SS TZ'), found_upload.queued
      using errcode = '22023',
            hint = 'Another campaign needs a key of its own (--key). If lines were corrected, upload only those: --errors writes them.';
  end if;
  return query select found_upload.id, found_upload.line_done, found_upload.queued;
end $$;

-- The metadata of a line: the upload's, the line's own JSON, and its pictures' URLs with spaces between them.
-- Null where it is no JSON, which `duly.problem` has a word for.
create function duly.line_metadata(shared jsonb, own text, media text) returns jsonb
language plpgsql immutable
as $$
declare
  found jsonb := shared;
begin
  if own is not null then
    found := own::jsonb;
    if jsonb_typeof(found) = 'object' then
      found := shared || found;
    end if;
  end if;
  if media is not null and jsonb_typeof(found) = 'object' then
    found := found || jsonb_build_object('media_urls', to_jsonb(regexp_split_to_array(btrim(media, E' \t\r\n'), '\s+')));
  end if;
  return found;
exception when others then
  return null;
end $$;

-- Queues the lines after `after_line` up to `last_line` in one transaction, and answers which were refused and why.
-- What was done already is not done again and answered the same, so a call whose answer was lost is repeated, and
-- two who upload the same file take turns. The arrays are the columns; one that is null, or a value that is, means
-- the upload's own. Lines are checked as `duly.enqueue` checks.
create function duly.upload_lines(
  upload uuid, after_line bigint, last_line bigint, lines bigint[], "to" text[], body text[] default null,
  due_at timestamptz[] default null, priority integer[] default null, idempotency_key text[] default null,
  category text[] default null, expires_at timestamptz[] default null, metadata text[] default null,
  media text[] default null
) returns table (line bigint, error text)
language plpgsql security definer set search_path = duly, pg_temp
as $$
#variable_conflict use_variable
declare
  u duly.upload;
  workspace duly.workspace;
  shared_body text;
  lane record;
  result record;
  -- The ids count up from a random one: in the lines' order, and without asking for random bits each time.
  seed text := duly.new_id();
  id_prefix text := left(seed, 24);
  id_base bigint := ('x' || right(seed, 12))::bit(48)::bigint & x'7fffffffffff'::bigint;
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
  select * into workspace from duly.workspace w where w.id = u.workspace_id;
  select m.body into shared_body from duly.message m where m.id = u.message_id and m.workspace_id = u.workspace_id;

  -- Lines with a key, and those of a workspace that remembers contents, go the way of duly.enqueue, each by itself.
  if workspace.duplicate_window is not null or idempotency_key is not null then
    for i in 1 .. cardinality(lines) loop
      continue when lines[i] <= u.line_done or lines[i] > last_line
                    or workspace.duplicate_window is null and idempotency_key[i] is null;
      result := duly.enqueue_checked(
        workspace, u.channel::text, "to"[i], coalesce(shared_body, body[i]), coalesce(due_at[i], u.due_at, now()),
        coalesce(priority[i], u.priority), idempotency_key[i], coalesce(category[i], u.category),
        coalesce(expires_at[i], u.expires_at), null, '{}', duly.line_metadata(u.metadata, metadata[i], media[i]));
      if result.error is null then
        u.queued := u.queued + 1;
      else
        insert into duly.upload_refusal (upload_id, line, workspace_id, error)
        values (u.id, lines[i], u.workspace_id, result.error);
      end if;
    end loop;
  end if;

  if workspace.duplicate_window is null and u.line_done < last_line then
    for lane in
      with checked as materialized (
        select g.*, (id_prefix || lpad(to_hex(id_base + g.line - after_line), 12, '0'))::uuid as id,
               duly.problem(u.channel::text, g."to", g.body, g.due_at, g.priority, null, g.category, g.expires_at,
                            null, '{}', g.metadata) as error
        from (
          select l.line, l."to", coalesce(shared_body, l.body) as body, coalesce(l.due_at, u.due_at, now()) as due_at,
                 coalesce(l.priority, u.priority) as priority, coalesce(l.category, u.category) as category,
                 coalesce(l.expires_at, u.expires_at) as expires_at,
                 case when l.metadata is null and l.media is null then u.metadata
                      else duly.line_metadata(u.metadata, l.metadata, l.media) end as metadata
          from unnest(lines, "to", body, due_at, priority, idempotency_key, category, expires_at, metadata, media)
            as l (line, "to", body, due_at, priority, idempotency_key, category, expires_at, metadata, media)
          where l.line > u.line_done and l.line <= last_line and l.idempotency_key is null
          offset 0
        ) g
      ), message as (
        insert into duly.message (id, workspace_id, body, category, metadata)
        select c.id, u.workspace_id, c.body, c.category, c.metadata from checked c
        where u.message_id is null and c.error is null
      ), delivery as (
        insert into duly.delivery_row
          (id, workspace_id, message_id, channel, "to", priority, due_at, expires_at, segments)
        select c.id, u.workspace_id, coalesce(u.message_id, c.id), u.channel, c."to", c.priority, c.due_at, c.expires_at,
               case when u.channel <> 'sms' or octet_length(c.body) <= 70 then 1 -- so short a text is one part in any letters
                    else duly.segments(c.body) end
        from checked c where c.error is null
      ), refusal as (
        insert into duly.upload_refusal (upload_id, line, workspace_id, error)
        select u.id, c.line, u.workspace_id, c.error from checked c where c.error is not null
      )
      select c.priority, min(c.due_at) as due_at, count(*) as queued from checked c where c.error is null group by c.priority
    loop
      u.queued := u.queued + lane.queued;
      perform duly.tell(u.workspace_id, u.channel::text, lane.priority, lane.due_at);
    end loop;
  end if;

  update duly.upload d set line_done = last_line, queued = u.queued, moved_at = now()
  where d.id = u.id and d.workspace_id = u.workspace_id and d.line_done < last_line;
  return query select r.line, r.error from duly.upload_refusal r
  where r.upload_id = u.id and r.workspace_id = u.workspace_id and r.line > after_line and r.line <= last_line
  order by r.line;
end $$;

-- Notes that the whole file has been given. Its commit makes durable whatever was committed before it without
-- waiting for the disk.
create function duly.upload_end(upload uuid) returns void
language plpgsql security definer set search_path = duly, pg_temp
as $$
begin
  update duly.upload u set ended_at = now()
  where u.id = upload_end.upload and u.workspace_id in (select duly.writable_workspaces());
  if not found then
    raise exception 'upload: there is no upload %', upload using errcode = 'P0002';
  end if;
end $$;

revoke all on function
  duly.problem(text, text, text, timestamptz, integer, text, text, timestamptz, text, jsonb, jsonb),
  duly.longest_body(text), duly.tell(integer, text, integer, timestamptz), duly.media_problem(text, jsonb), duly.line_metadata(jsonb, text, text),
  duly.upload_begin(text, text, bytea, text, text, timestamptz, integer, text, timestamptz, jsonb),
  duly.upload_lines(uuid, bigint, bigint, bigint[], text[], text[], timestamptz[], integer[], text[], text[],
                    timestamptz[], text[], text[]),
  duly.upload_end(uuid)
  from public;
grant execute on function
  duly.upload_begin(text, text, bytea, text, text, timestamptz, integer, text, timestamptz, jsonb),
  duly.upload_lines(uuid, bigint, bigint, bigint[], text[], text[], timestamptz[], integer[], text[], text[],
                    timestamptz[], text[], text[]),
  duly.upload_end(uuid)
  to duly_producer, duly_daemon;
grant select on duly.upload, duly.upload_refusal to duly_daemon;
