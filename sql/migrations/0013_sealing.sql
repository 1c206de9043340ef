-- Sealing: a workspace that asks for it has its texts and addresses encrypted by the daemon with a key of its own. Each
-- such key is kept here, itself encrypted with a key that only the daemons' configuration has.
create table duly.data_key (
  workspace_id integer not null,
  generation smallint not null check (generation > 0),
  wrapped bytea not null,
  wrapped_by text not null, -- the name of the key in [privacy] keys
  created_at timestamptz not null default now(),
  primary key (workspace_id, generation)
);

alter table duly.workspace
  add column seal boolean not null default false,
  add column seal_since timestamptz,
  add column seal_from uuid; -- rows from before: those up to this id have been asked for; null: all have

-- Asks for the sealing of a row of a table that little is written to. Messages and deliveries are asked for by the
-- functions that queue them.
create function duly.ask_for_sealing() returns trigger
language plpgsql security definer set search_path = duly, pg_temp
as $$
begin
  if new.sealed is null and exists (select from duly.workspace w where w.id = new.workspace_id and w.seal) then
    new.sealed_with := 0;
  end if;
  return new;
end $$;

-- An address that is written in clear over what was sealed is asked for again.
create function duly.ask_for_sealing_again() returns trigger
language plpgsql
as $$
begin
  if new.address <> '' and old.sealed is not null and new.sealed is not distinct from old.sealed then
    new.sealed := null;
    new.sealed_with := 0;
  end if;
  return new;
end $$;

create trigger seal_again before update of address on duly.address
  for each row execute function duly.ask_for_sealing_again();
create trigger seal before insert on duly.address for each row execute function duly.ask_for_sealing();
create trigger seal before insert on duly.inbound for each row execute function duly.ask_for_sealing();
create trigger seal before insert on duly.conversation for each row execute function duly.ask_for_sealing();

-- Says whether a workspace asks for sealing; what it has already is then asked for as well. Returns its id; null where
-- it is not known.
create function duly.set_sealing(workspace text, seal boolean) returns integer
language plpgsql security definer set search_path = duly, pg_temp
as $$
declare
  found_id integer;
begin
  update duly.workspace w
  set seal = set_sealing.seal, seal_since = now(),
      seal_from = case when set_sealing.seal then duly.first_id_at(w.created_at - interval '1 minute') end
  where w.name = set_sealing.workspace and w.seal <> set_sealing.seal
  returning w.id into found_id;
  if not found then
    return (select w.id from duly.workspace w where w.name = set_sealing.workspace);
  end if;
  if set_sealing.seal then
    update duly.address a set sealed_with = 0 where a.workspace_id = found_id and a.sealed_with is null and a.address <> '';
    update duly.conversation k set sealed_with = 0
    where k.workspace_id = found_id and k.sealed_with is null and k.address <> '';
    update duly.inbound i set sealed_with = 0
    where i.workspace_id = found_id and i.sealed_with is null and i.from_address <> '';
  end if;
  return found_id;
end $$;

-- Asks for the sealing of the next messages and deliveries that a workspace had before it asked for it; those queued by
-- transactions that began before are looked for until ten minutes have passed. True: there may be more.
create function duly.ask_for_older(workspace integer, how_many integer) returns boolean
language plpgsql security definer set search_path = duly, pg_temp
as $$
declare
  begun duly.workspace;
  portion uuid[];
  last uuid;
begin
  select * into begun from duly.workspace w where w.id = workspace and w.seal and w.seal_from is not null
  for update skip locked;
  if not found then
    return false;
  end if;
  portion := array(select d.id from duly.delivery_row d where d.id > begun.seal_from order by d.id limit how_many);
  last := coalesce(portion[cardinality(portion)], 'ffffffff-ffff-ffff-ffff-ffffffffffff');
  perform from duly.delivery_row d
  where d.id = any (portion) and d.workspace_id = workspace and d.sealed_with is null order by d.id for update;
  update duly.delivery_row d set sealed_with = 0
  where d.id = any (portion) and d.workspace_id = workspace and d.sealed_with is null and d."to" <> '';
  update duly.message m set sealed_with = 0
  where m.id > begun.seal_from and m.id <= last and m.workspace_id = workspace and m.sealed_with is null
    and (m.body <> '' or m.metadata <> '{}' or m.variables <> '{}')
    and not exists (select from duly.upload u where u.message_id = m.id and u.workspace_id = workspace and u.ended_at is null);
  if begun.seal_since < now() - interval '10 minutes' then
    update duly.workspace w set seal_from = case when cardinality(portion) > 0 then last end where w.id = workspace;
  elsif cardinality(portion) = how_many then
    update duly.workspace w set seal_from = last where w.id = workspace;
  end if;
  return cardinality(portion) = how_many;
end $$;

-- Puts what the daemon has sealed in the place of the clear text, where the row is still as it was sealed with `was`
-- before. Nothing else of a row changes, and none that others have locked is waited for. `kind` names the table, `ids`
-- its rows as sealable_KIND.sql does. Returns how many.
create function duly.put_sealed(
  kind text, workspace integer, ids text[], was smallint[], sealed bytea[], generation smallint
) returns bigint
language plpgsql security definer set search_path = duly, pg_temp
as $$
#variable_conflict use_variable
declare
  done bigint;
begin
  if kind = 'message' then
    with free as (
      select m.id, n.sealed from unnest(ids, was, sealed) n (id, was, sealed)
      join duly.message m on m.id = n.id::uuid and m.workspace_id = workspace and m.sealed_with = n.was
      for update of m skip locked)
    update duly.message m
    set body = '', variables = '{}', metadata = '{}', sealed = free.sealed, sealed_with = generation
    from free where m.id = free.id and m.workspace_id = workspace;
  elsif kind = 'delivery' then
    with free as (
      select d.id, n.sealed from unnest(ids, was, sealed) n (id, was, sealed)
      join duly.delivery_row d on d.id = n.id::uuid and d.workspace_id = workspace and d.sealed_with = n.was
      for update of d skip locked)
    update duly.delivery_row d set "to" = '', sealed = free.sealed, sealed_with = generation
    from free where d.id = free.id and d.workspace_id = workspace;
  elsif kind = 'address' then
    with free as (
      select a.address_key, a.channel, n.sealed from unnest(ids, was, sealed) n (id, was, sealed)
      join duly.address a on a.address_key = split_part(n.id, ' ', 1)::uuid and a.channel = split_part(n.id, ' ', 2)
                             and a.workspace_id = workspace and a.sealed_with = n.was
      for update of a skip locked)
    update duly.address a set address = '', sealed = free.sealed, sealed_with = generation
    from free where a.address_key = free.address_key and a.channel = free.channel and a.workspace_id = workspace;
  elsif kind = 'inbound' then
    with free as (
      select i.id, n.sealed from unnest(ids, was, sealed) n (id, was, sealed)
      join duly.inbound i on i.id = n.id::uuid and i.workspace_id = workspace and i.sealed_with = n.was
      for update of i skip locked)
    update duly.inbound i
    set from_address = '', body = '', media_urls = '{}', sealed = free.sealed, sealed_with = generation
    from free where i.id = free.id and i.workspace_id = workspace;
  elsif kind = 'conversation' then
    with free as (
      select k.id, n.sealed from unnest(ids, was, sealed) n (id, was, sealed)
      join duly.conversation k on k.address_key = split_part(n.id, ' ', 1)::uuid and k.channel::text = split_part(n.id, ' ', 2)
                                  and k.workspace_id = workspace and k.sealed_with = n.was
      for update of k skip locked)
    update duly.conversation k set address = '', sealed = free.sealed, sealed_with = generation
    from free where k.id = free.id and k.workspace_id = workspace;
  else
    raise exception 'kind: % is none of message, delivery, address, inbound, conversation', kind using errcode = '22023';
  end if;
  get diagnostics done = row_count;
  return done;
end $$;

-- A hash that nobody can try contents against who has not got the key.
create function duly.keyed(hash bytea) returns bytea
language sql stable
as $$ select sha256(k.outer_pad || sha256(k.inner_pad || hash)) from duly.hash_key k $$;

-- Why a line was refused; for a workspace that seals without what stood in it.
create function duly.refusal(workspace duly.workspace, error text) returns text
language sql immutable parallel safe
as $$ select case when workspace.seal then regexp_replace(error, '''.*''', 'what it has') else error end $$;

-- Blanks what has just been queued for who was erased, from one id to another: it is skipped, and the key is enough.
create function duly.forget_erased(workspace integer, first uuid, last uuid) returns void
language plpgsql
as $$
begin
  if exists (select from duly.suppression s where s.workspace_id = workspace and s.reason = 'erased') then
    perform duly.blank(workspace, array(
      select d.id from duly.delivery_row d
      where d.id between first and last and d.workspace_id = workspace and d.state = 'skipped' and exists (
        select from duly.suppression s
        where s.address_key = d.address_key and s.workspace_id = workspace and s.reason = 'erased')));
  end if;
end $$;

-- The one place that queues one: a new delivery's id, the id that this idempotency key has already, or an error.
-- As before; the workspace's footer is appended, what must not be written to is skipped at once, with its reason, what a
-- workspace that seals has queued is asked for, and of who was erased nothing is kept.
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
  digest bytea;
  other record;
  plain text := body;
  key uuid;
  stop text;
  seal smallint := case when workspace.seal then 0 end;
begin
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
      insert into duly.message (id, workspace_id, body, category, template, variables, metadata, sealed_with)
      values (new_id, workspace.id, body, category, template, variables, metadata, seal)
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
    jsonb_build_array(channel, "to", plain, category, template, variables, metadata)::text, 'UTF8'));
  if workspace.seal then
    hash := duly.keyed(hash);
  end if;

  insert into duly.message as m
    (id, workspace_id, body, category, template, variables, metadata, idempotency_key, content_hash,
     sealed_with)
  values (new_id, workspace.id, body, category, template, variables, metadata, idempotency_key, hash, seal)
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
    digest := sha256(convert_to(jsonb_build_array(channel, "to", plain)::text, 'UTF8'));
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

-- Queues the lines after `after_line` up to `last_line` in one transaction, and answers which were refused and why.
-- As before; with footers, suppressions, sealing and erasure as in duly.enqueue_checked.
create or replace function duly.upload_lines(
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
  seal smallint;
  lane record;
  result record;
  -- The ids count up from a random one: in the lines' order, and without asking for random bits each time.
  seed text := duly.new_id();
  id_prefix text := left(seed, 24);
  id_base bigint := ('x' || right(seed, 12))::bit(48)::bigint & x'7fffffffffff'::bigint;
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
        values (u.id, lines[i], u.workspace_id, duly.refusal(workspace, result.error));
      end if;
    end loop;
  end if;

  if workspace.duplicate_window is null and u.line_done < last_line then
    for lane in
      with checked as materialized (
        select g.*, (id_prefix || lpad(to_hex(id_base + g.line - after_line), 12, '0'))::uuid as id,
               coalesce(duly.problem(u.channel::text, g."to", g.body, g.due_at, g.priority, null, g.category, g.expires_at,
                                     null, '{}', g.metadata),
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
                      else duly.line_metadata(u.metadata, l.metadata, l.media) end as metadata
          from unnest(lines, "to", body, due_at, priority, idempotency_key, category, expires_at, metadata, media)
            as l (line, "to", body, due_at, priority, idempotency_key, category, expires_at, metadata, media)
          where l.line > u.line_done and l.line <= last_line and l.idempotency_key is null
          offset 0
        ) g
      ), message as (
        insert into duly.message (id, workspace_id, body, category, metadata, sealed_with)
        select c.id, u.workspace_id, c.body, c.category, c.metadata, seal from checked c
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

-- Queues an answer to a keyword, before all else, and for five minutes: a later confirmation would be a message of
-- its own. It passes the suppression that it confirms. Returns its delivery.
create function duly.answer_keyword(workspace integer, inbound uuid, channel text, "to" text, body text) returns uuid
language plpgsql security definer set search_path = duly, pg_temp
as $$
declare
  new_id uuid := duly.new_id();
  key uuid := duly.address_key(channel, "to");
  seal smallint := (select 0 from duly.workspace w where w.id = workspace and w.seal);
begin
  insert into duly.message (id, workspace_id, body, category, sealed_with)
  values (new_id, workspace, body, 'opt_out_reply', seal);
  insert into duly.delivery_row
    (id, workspace_id, message_id, channel, "to", address_key, priority, due_at, expires_at, segments, sealed_with)
  values (new_id, workspace, new_id, channel::duly.channel, "to", key, 1, now(), now() + interval '5 minutes',
          case when channel = 'sms' then duly.segments(body) else 1 end, seal);
  insert into duly.answer (inbound_id, workspace_id, address_key, delivery_id) values (inbound, workspace, key, new_id);
  perform duly.tell(workspace, channel, 1, now());
  return new_id;
end $$;

-- Notes that the whole file has been given. Its commit makes durable whatever was committed before it without
-- waiting for the disk. The one text of all is sealed from now on: until here each chunk needs it.
create or replace function duly.upload_end(upload uuid) returns void
language plpgsql security definer set search_path = duly, pg_temp
as $$
declare
  ended duly.upload;
begin
  update duly.upload u
  set ended_at = now(), metadata = case when w.seal then '{}' else u.metadata end
  from duly.workspace w
  where u.id = upload_end.upload and u.workspace_id in (select duly.writable_workspaces()) and w.id = u.workspace_id
  returning u.* into ended;
  if not found then
    raise exception 'upload: there is no upload %', upload using errcode = 'P0002';
  end if;
  update duly.message m set sealed_with = 0
  where m.id = ended.message_id and m.workspace_id = ended.workspace_id and m.sealed_with is null
    and exists (select from duly.workspace w where w.id = ended.workspace_id and w.seal);
end $$;

revoke all on all functions in schema duly from public;
grant execute on function
  duly.set_sealing(text, boolean), duly.ask_for_older(integer, integer),
  duly.put_sealed(text, integer, text[], smallint[], bytea[], smallint),
  duly.answer_keyword(integer, uuid, text, text, text)
  to duly_daemon;
grant select, insert, update on duly.data_key to duly_daemon;
