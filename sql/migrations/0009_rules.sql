-- What may be sent to whom: addresses under a keyed hash, consent, suppressions, people, caps, and what rules answered.

-- The key of all address hashes (HMAC-SHA256, RFC 2104, as its two pads). It stays when a person is erased, so that
-- who must not be written to is still known when nothing else is. Nobody but the owner's functions reads it.
create table duly.hash_key (
  one boolean primary key default true check (one),
  inner_pad bytea not null check (octet_length(inner_pad) = 64),
  outer_pad bytea not null check (octet_length(outer_pad) = 64)
);

insert into duly.hash_key (inner_pad, outer_pad)
select string_agg(set_byte('\x00', 0, k # 54), '' order by n), string_agg(set_byte('\x00', 0, k # 92), '' order by n)
from (
  select n, case when n < 32 then get_byte(secret, n) else 0 end as k
  from (select sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())) as secret) s,
       generate_series(0, 63) n
) bytes;

-- An address as everything that must outlive it knows it: the first 128 bits of its HMAC. SMS, WhatsApp and RCS
-- share the number; a mailbox is the same in any case.
create function duly.address_hash(inner_pad bytea, outer_pad bytea, channel text, address text) returns uuid
language sql stable parallel safe
as $$
  select encode(substring(sha256(outer_pad || sha256(inner_pad || convert_to(
    case when channel in ('sms', 'whatsapp', 'rcs') then 'phone:' || address
         when channel = 'email' then 'email:' || lower(address)
         else channel || ':' || address end, 'UTF8'))) from 1 for 16), 'hex')::uuid
$$;

create function duly.address_key(channel text, address text) returns uuid
language sql stable security definer set search_path = duly, pg_temp
as $$ select duly.address_hash(k.inner_pad, k.outer_pad, channel, address) from duly.hash_key k $$;

alter table duly.delivery_row
  add column address_key uuid,
  add column planned_for timestamptz; -- when it was due at first, once it has been put off
update duly.delivery_row d set address_key = duly.address_hash(k.inner_pad, k.outer_pad, d.channel::text, d."to")
from duly.hash_key k;

-- What a STOP must find at once, and what an erasure must find that no attempt knows. What is leased is found among
-- what the nodes hold, which is little: an entry here for each lease would cost more.
create index delivery_row_address on duly.delivery_row (address_key)
  where state in ('queued', 'failed', 'expired', 'skipped', 'canceled');

-- Addresses that must not be written to. workspace_id 0: by nobody. An empty channel, category or account: all.
create table duly.suppression (
  address_key uuid not null,
  workspace_id integer not null,
  channel text not null default '',
  category text not null default '',
  account text not null default '',
  reason text not null check (reason in ('opted_out', 'do_not_contact', 'erased')),
  source text not null,
  at timestamptz not null default now(),
  primary key (address_key, workspace_id, channel, category, account, reason)
);
create index suppression_workspace on duly.suppression (workspace_id, reason);

-- Why an address may or may not be written to: every word of it, oldest first, never changed.
create table duly.consent (
  id uuid not null,
  workspace_id integer not null,
  address_key uuid not null,
  channel text not null default '',
  category text not null default '',
  account text not null default '',
  state text not null check (state in ('given', 'requested', 'withdrawn')), -- requested: a double opt-in waits for its yes
  source text not null check (source in ('sql', 'http', 'csv', 'inbound', 'provider', 'person')),
  words text check (char_length(words) <= 1000),  -- what was said or agreed to
  proof jsonb not null default '{}' check (pg_column_size(proof) <= 8192),
  who text not null,
  at timestamptz not null,                        -- when it was said
  recorded_at timestamptz not null default now(),
  primary key (id, workspace_id)
);
create index consent_address on duly.consent (address_key, workspace_id, at);

create function duly.refuse_change() returns trigger
language plpgsql
as $$
begin
  raise exception '%: what is written here is never changed', tg_table_name using errcode = '42501';
end $$;
create trigger append_only before update or delete or truncate on duly.consent
  for each statement execute function duly.refuse_change();

-- People, and unnamed guests, of one workspace.
create table duly.contact (
  id uuid not null,
  workspace_id integer not null,
  external_id text check (char_length(external_id) between 1 and 255),
  first_name text check (char_length(first_name) <= 200),
  name text check (char_length(name) <= 200),
  locale text check (char_length(locale) <= 35),
  time_zone text check (char_length(time_zone) <= 64),         -- as given by the person or the application
  max_per_week smallint check (max_per_week between 0 and 1000),
  attributes jsonb not null default '{}' check (pg_column_size(attributes) <= 16384),
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (id, workspace_id)
);
create unique index contact_external_id on duly.contact (workspace_id, external_id) where external_id is not null;

-- Where a person is reached. An address belongs to one person of a workspace; a person may have several.
create table duly.address (
  workspace_id integer not null,
  address_key uuid not null,
  channel text not null,
  contact_id uuid not null,
  address text not null,
  verified_at timestamptz,   -- the person has shown that it is theirs
  own boolean not null default false, -- the business's own, which it may write to before it has been checked
  created_at timestamptz not null default now(),
  primary key (address_key, workspace_id, channel)
);
create index address_contact on duly.address (contact_id, workspace_id);

-- How often an address was written to under a cap: the marks that still count, and of which deliveries.
create table duly.cap_use (
  address_key uuid not null,
  workspace_id integer not null,
  cap text not null,
  at timestamptz[] not null default '{}',
  by uuid[] not null default '{}',
  primary key (address_key, workspace_id, cap)
) with (fillfactor = 70);

-- What rules answered where a delivery did not simply go: deferred, skipped, expired. What let it go stands with
-- the attempt.
create table duly.ruling (
  id bigint generated always as identity,
  delivery_id uuid not null,
  workspace_id integer not null,
  stage text not null check (stage in ('planned', 'leased', 'marked')),
  became duly.state not null,
  until timestamptz,
  rulings jsonb not null,
  at timestamptz not null default now(),
  primary key (delivery_id, id, workspace_id)
);

alter table duly.attempt
  add column rulings jsonb,       -- null: no rule but the standing ones was asked of its category
  add column waited_ms integer;   -- from its lease to the call

-- Who may send at all: whether a workspace has been checked. Every word of it, never changed; the last one counts.
create table duly.verification (
  id bigint generated always as identity,
  workspace_id integer not null,
  verified boolean not null,
  who text not null check (char_length(btrim(who)) between 1 and 200),
  why text not null check (char_length(btrim(why)) between 1 and 1000),
  at timestamptz not null default now(),
  primary key (id, workspace_id)
);
create trigger append_only before update or delete or truncate on duly.verification
  for each statement execute function duly.refuse_change();

alter table duly.workspace
  add column verified_at timestamptz,
  add column footers jsonb,              -- language → what is appended; "": in every other
  add column footer_categories text[];   -- to which categories; null: to none

-- Ends what waits for an address: everything queued or leased that a suppression covers. Returns how many.
-- It waits for nobody: what another transaction holds at this moment is about to be asked by the mark, which sees the
-- suppression. Two that waited for each other's rows would be a deadlock, and the STOP might be the one that is lost.
create function duly.skip_waiting(
  key uuid, workspace integer, channel text, category text, reason text, detail text
) returns bigint
language plpgsql
as $$
declare
  ended bigint;
begin
  with waiting as (
    select d.id, d.workspace_id from duly.delivery_row d
    join duly.message m on m.id = d.message_id and m.workspace_id = d.workspace_id
    where d.address_key = key and (d.state = 'queued' or d.state in ('leased', 'sending') and d.node_id is not null)
      and d.state in ('queued', 'leased')
      and (workspace = 0 or d.workspace_id = workspace)
      and (skip_waiting.channel = '' or d.channel::text = skip_waiting.channel)
      and (skip_waiting.category = '' or m.category = skip_waiting.category)
      and m.category <> 'opt_out_reply'
    for update of d skip locked
  )
  update duly.delivery_row d
  set state = 'skipped', reason = skip_waiting.reason, detail = skip_waiting.detail,
      state_at = now(), lease_token = null, node_id = null
  from waiting w
  where d.id = w.id and d.workspace_id = w.workspace_id and d.state in ('queued', 'leased');
  get diagnostics ended = row_count;
  return ended;
end $$;

-- What is wrong with an address, as duly.problem says it.
create function duly.address_problem(channel text, "to" text) returns text
language sql stable parallel safe
as $$ select duly.problem(channel, "to", 'x', now(), 2, null, 'transactional', null, null, '{}', '{}') $$;

-- What Duly itself answered to a keyword: who feeds a loop is known by it.
create table duly.answer (
  inbound_id uuid not null,
  workspace_id integer not null,
  address_key uuid not null,
  delivery_id uuid not null,
  at timestamptz not null default now(),
  primary key (inbound_id, workspace_id)
);
create index answer_address on duly.answer (address_key, at);

-- Puts an address on the do-not-contact list of a workspace, or with null on that of all, which takes the daemon's
-- rights; ends what waits for it. Returns how many deliveries that ended.
create function duly.do_not_contact(
  workspace text, channel text, "to" text, category text default '', source text default 'sql'
) returns bigint
language plpgsql security definer set search_path = duly, pg_temp
as $$
declare
  found_id integer := duly.list_owner(workspace);
  problem text := duly.address_problem(channel, "to");
  key uuid;
begin
  if problem is not null then
    raise exception '%', problem using errcode = '22023';
  end if;
  key := duly.address_key(channel, "to");
  insert into duly.suppression (address_key, workspace_id, channel, category, reason, source)
  values (key, found_id, channel, coalesce(category, ''), 'do_not_contact', left(coalesce(source, 'sql'), 100))
  on conflict do nothing;
  perform duly.audit_append(duly.caller(), 'suppression_added', nullif(found_id, 0), key::text,
                            jsonb_build_object('reason', 'do_not_contact', 'channel', channel, 'category', coalesce(category, '')));
  return duly.skip_waiting(key, found_id, channel, coalesce(category, ''), 'do_not_contact', 'put on the do-not-contact list');
end $$;

-- Takes an address off the do-not-contact list again. True: it was on it.
create function duly.contact_again(workspace text, channel text, "to" text, category text default '') returns boolean
language plpgsql security definer set search_path = duly, pg_temp
as $$
declare
  found_id integer := duly.list_owner(workspace);
  problem text := duly.address_problem(channel, "to");
  key uuid;
begin
  if problem is not null then
    raise exception '%', problem using errcode = '22023';
  end if;
  key := duly.address_key(channel, "to");
  delete from duly.suppression s
  where s.address_key = key and s.workspace_id = found_id
    and s.channel = contact_again.channel and s.category = coalesce(contact_again.category, '') and s.reason = 'do_not_contact';
  if not found then
    return false;
  end if;
  perform duly.audit_append(duly.caller(), 'suppression_lifted', nullif(found_id, 0), key::text,
                            jsonb_build_object('reason', 'do_not_contact', 'channel', channel, 'category', coalesce(category, '')));
  return true;
end $$;

-- Whose list is meant: a workspace's id, or 0 for the list of all.
create function duly.list_owner(workspace text) returns integer
language plpgsql stable
as $$
begin
  if workspace is not null then
    return (duly.writable_workspace(workspace)).id;
  elsif not pg_has_role(duly.caller(), 'duly_daemon', 'usage') then
    raise exception 'workspace: the list of all workspaces is the operator''s' using errcode = '42501';
  end if;
  return 0;
end $$;

-- Says that a workspace has been checked, or no more; what it had leased is asked again. Raises 22023.
create function duly.set_verified(workspace text, verified boolean, who text, why text) returns void
language plpgsql security definer set search_path = duly, pg_temp
as $$
declare
  found_id integer;
begin
  if not pg_has_role(duly.caller(), 'duly_daemon', 'usage') then
    raise exception 'a workspace is verified by the operator' using errcode = '42501';
  elsif coalesce(btrim(who), '') = '' or char_length(who) > 200 then
    raise exception 'who: say who decides, in at most 200 characters' using errcode = '22023';
  elsif coalesce(btrim(why), '') = '' or char_length(why) > 1000 then
    raise exception 'why: give the reason, in at most 1000 characters' using errcode = '22023';
  end if;
  update duly.workspace w set verified_at = case when verified then now() end where w.name = set_verified.workspace
  returning w.id into found_id;
  if found_id is null then
    raise exception 'workspace: % is not known', coalesce(quote_literal(left(workspace, 100)), 'null') using errcode = '22023';
  end if;
  insert into duly.verification (workspace_id, verified, who, why) values (found_id, verified, who, why);
  perform duly.audit_append(who, case when verified then 'verified' else 'verification_withdrawn' end, found_id,
                            workspace, '{}');
  if not verified then
    update duly.delivery_row d set state = 'queued', lease_token = null, node_id = null, state_at = now()
    where d.workspace_id = found_id and d.state = 'leased';
  end if;
end $$;

-- Charges deliveries to the caps of their addresses, each once however often it is asked: all of a delivery's caps or
-- none. What is charged again, as before a retry, counts from now on. One row a delivery and cap. `window_seconds`: what
-- is older does not count; or `since`: what was before. Returns those that have no room, with the cap, and when the
-- next of it leaves (null with `since`).
create function duly.charge_caps(
  ids uuid[], workspaces integer[], keys uuid[], caps text[], limits integer[], window_seconds double precision[],
  since timestamptz[]
) returns table (id uuid, cap text, used integer, free_at timestamptz)
language plpgsql set search_path = duly, pg_temp
as $$
#variable_conflict use_column
declare
  delivery record;
begin
  insert into cap_use (address_key, workspace_id, cap)
  select distinct a.key, a.workspace, a.cap from unnest(keys, workspaces, caps) a (key, workspace, cap)
  order by 1, 2, 3
  on conflict do nothing;
  perform from cap_use u
  where (u.address_key, u.workspace_id, u.cap) in (select a.key, a.workspace, a.cap from unnest(keys, workspaces, caps) a (key, workspace, cap))
  order by u.address_key, u.workspace_id, u.cap for update;
  for delivery in
    select a.id, a.key, a.workspace, array_agg(a.cap) as caps, array_agg(a.most) as limits,
           array_agg(coalesce(a.since, clock_timestamp() - make_interval(secs => a.seconds))) as since,
           array_agg(a.seconds) as seconds
    from unnest(ids, workspaces, keys, caps, limits, window_seconds, since) with ordinality
           a (id, workspace, key, cap, most, seconds, since, n)
    group by a.id, a.key, a.workspace order by min(a.n)
  loop
    return query
    select delivery.id, c.cap, x.used, x.free_at
    from unnest(delivery.caps, delivery.limits, delivery.since, delivery.seconds) c (cap, most, since, seconds)
    join cap_use u on u.address_key = delivery.key and u.workspace_id = delivery.workspace and u.cap = c.cap
    cross join lateral (
      select count(*)::integer as used,
             -- Room for one more is there when only `most - 1` are left within the window.
             (array_agg(t.at order by t.at desc))[c.most] + make_interval(secs => c.seconds) as free_at
      from unnest(u.at, u.by) t (at, by) where t.at > c.since and t.by <> delivery.id
    ) x
    where x.used >= c.most;
    if not found then
      update cap_use u
      set at = array_append(kept.at, clock_timestamp()), by = array_append(kept.by, delivery.id)
      from cap_use o cross join lateral (
        select array_agg(t.at order by t.n) as at, array_agg(t.by order by t.n) as by
        from unnest(o.at, o.by) with ordinality t (at, by, n) where t.by <> delivery.id
      ) kept
      where u.address_key = delivery.key and u.workspace_id = delivery.workspace and u.cap = any (delivery.caps)
        and o.address_key = u.address_key and o.workspace_id = u.workspace_id and o.cap = u.cap;
    end if;
  end loop;
  -- What no cap counts any more, at most once in a while.
  update cap_use u
  set at = kept.at, by = kept.by
  from (
    select u.address_key, u.workspace_id, u.cap, array_agg(t.at order by t.n) as at, array_agg(t.by order by t.n) as by
    from cap_use u cross join unnest(u.at, u.by) with ordinality t (at, by, n)
    where (u.address_key, u.workspace_id, u.cap) in (select a.key, a.workspace, a.cap from unnest(keys, workspaces, caps) a (key, workspace, cap))
      and cardinality(u.at) > 100 and t.at > now() - interval '400 days'
    group by u.address_key, u.workspace_id, u.cap
  ) kept
  where u.address_key = kept.address_key and u.workspace_id = kept.workspace_id and u.cap = kept.cap
    and cardinality(u.at) > cardinality(kept.at);
end $$;

-- What is appended to a text of that category, once: of the workspace's footer in that language, or in its own, the
-- lines that the text does not have already.
create function duly.with_footer(workspace duly.workspace, category text, body text, language text) returns text
language sql immutable parallel safe
as $$
  select case
    when workspace.footers is null or body is null or category is null
         or not (category = any (workspace.footer_categories) or '*' = any (workspace.footer_categories))
      then body
    else (
      select body || coalesce(string_agg(E'\n' || f.line, '' order by f.n) filter (where position(f.line in body) = 0), '')
      from regexp_split_to_table(
        coalesce(workspace.footers ->> lower(language), workspace.footers ->> split_part(lower(language), '-', 1),
                 workspace.footers ->> ''), E'\n') with ordinality as f (line, n))
  end
$$;

-- Categories that only Duly itself may use: its answers to a STOP pass where nothing else does.
create function duly.category_problem(category text) returns text
language sql immutable parallel safe
as $$ select case when category = 'opt_out_reply' then 'category: opt_out_reply is for Duly''s own answers' end $$;

-- Begins an upload, or finds the one that this key has already. `body` is the one text of all, or null where each
-- line brings its own. Raises 22023 with "field: what is wrong", also for a key of another content.
create or replace function duly.upload_begin(
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
      channel, case channel when 'email' then 'a@example.com' else '+14155550123' end,
      coalesce(duly.with_footer(found_workspace, category, body, metadata ->> 'language'), 'x'),
      coalesce(due_at, now()), priority, null, category, expires_at, null, '{}', metadata);
    problem := coalesce(problem, duly.category_problem(category));
    if problem is not null then
      raise exception '%', problem using errcode = '22023';
    end if;
    insert into duly.upload (id, workspace_id, key, digest, message_id, channel, due_at, priority, category, expires_at, metadata)
    values (new_id, found_workspace.id, key, digest, case when body is not null then new_id end,
            channel::duly.channel, due_at, priority, category, expires_at, metadata)
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
  return query select found_upload.id, found_upload.line_done, found_upload.queued;
end $$;

revoke all on all functions in schema duly from public;
grant execute on function
  duly.do_not_contact(text, text, text, text, text), duly.contact_again(text, text, text, text)
  to duly_producer, duly_daemon;
grant execute on function
  duly.set_verified(text, boolean, text, text),
  duly.address_key(text, text), duly.address_hash(bytea, bytea, text, text),
  duly.skip_waiting(uuid, integer, text, text, text, text),
  duly.charge_caps(uuid[], integer[], uuid[], text[], integer[], double precision[], timestamptz[])
  to duly_daemon;
grant select on duly.suppression, duly.consent, duly.contact, duly.address, duly.cap_use, duly.ruling, duly.verification,
  duly.answer
  to duly_daemon;
grant insert on duly.suppression, duly.consent, duly.contact, duly.address, duly.cap_use, duly.ruling, duly.answer
  to duly_daemon;
grant update on duly.contact, duly.address, duly.cap_use to duly_daemon;
grant delete on duly.suppression to duly_daemon;
