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

-- The one place that writes consent, and what follows from it: a withdrawal suppresses and ends what waits, a yes
-- lifts what an earlier withdrawal suppressed. Returns the id, and how many deliveries were ended.
create function duly.consent_recorded(
  workspace integer, key uuid, channel text, category text, account text, state text, source text, words text,
  proof jsonb, who text, at timestamptz, out id uuid, out skipped bigint
)
language plpgsql
as $$
#variable_conflict use_variable
begin
  id := duly.new_id();
  skipped := 0;
  insert into duly.consent (id, workspace_id, address_key, channel, category, account, state, source, words, proof, who, at)
  values (id, workspace, key, channel, category, account, state, source, left(words, 1000), proof, who, at);
  if state = 'withdrawn' then
    insert into duly.suppression (address_key, workspace_id, channel, category, account, reason, source)
    values (key, workspace, channel, category, account, 'opted_out', source)
    on conflict do nothing;
    if account = '' then -- which account a waiting delivery goes by is known when it goes: the mark looks
      skipped := duly.skip_waiting(key, workspace, channel, category, 'opted_out',
                                   format('opted out by %s at %s', source, to_char(at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS"Z"')));
    end if;
  elsif state = 'given' then
    delete from duly.suppression s
    where s.address_key = key and s.workspace_id = workspace and s.reason = 'opted_out'
      and (channel = '' or s.channel = channel) and (category = '' or s.category = category)
      and (account = '' or s.account = account);
  end if;
end $$;

-- Records a yes, a no, or that a yes has been asked for. `channel`, `category` empty: all. Raises 22023.
create function duly.record_consent(
  workspace text, channel text, "to" text, state text, category text default '', words text default null,
  source text default 'sql', proof jsonb default '{}', at timestamptz default now()
) returns uuid
language plpgsql security definer set search_path = duly, pg_temp
as $$
declare
  found_workspace duly.workspace := duly.writable_workspace(workspace);
  problem text := duly.address_problem(channel, "to");
  found_id uuid;
begin
  if problem is not null then
    raise exception '%', problem using errcode = '22023';
  elsif state is null or state not in ('given', 'requested', 'withdrawn') then
    raise exception 'state: % is none of given, requested, withdrawn', coalesce(quote_literal(left(state, 40)), 'null') using errcode = '22023';
  elsif source is null or source not in ('sql', 'http', 'csv', 'inbound', 'provider', 'person') then
    raise exception 'source: % is none of sql, http, csv, inbound, provider, person', coalesce(quote_literal(left(source, 40)), 'null') using errcode = '22023';
  elsif category is null or category <> '' and (category !~ '^[a-z][a-z0-9_]*$' or char_length(category) > 40) then
    raise exception 'category: must be a category such as marketing, or empty for all' using errcode = '22023';
  elsif char_length(words) > 1000 then
    raise exception 'words: must have at most 1000 characters' using errcode = '22023';
  elsif proof is null or jsonb_typeof(proof) <> 'object' or pg_column_size(proof) > 8192 then
    raise exception 'proof: must be a JSON object of at most 8 KiB' using errcode = '22023';
  elsif at is null or at > now() + interval '1 day' or at < '1990-01-01Z' then
    raise exception 'at: must be when it was said, not in the future' using errcode = '22023';
  end if;
  select r.id into found_id from duly.consent_recorded(
    found_workspace.id, duly.address_key(channel, "to"), channel, category, '', state, source, words, proof,
    duly.caller(), least(at, now())) r;
  if source = 'person' then
    perform duly.audit_append(duly.caller(), 'consent_recorded', found_workspace.id, found_id::text,
                              jsonb_build_object('state', state, 'channel', channel, 'category', category));
  end if;
  return found_id;
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

-- Queues an answer to a keyword, before all else, and for five minutes: a later confirmation would be a message of
-- its own. It passes the suppression that it confirms. Returns its delivery.
create function duly.answer_keyword(workspace integer, inbound uuid, channel text, "to" text, body text) returns uuid
language plpgsql security definer set search_path = duly, pg_temp
as $$
declare
  new_id uuid := duly.new_id();
  key uuid := duly.address_key(channel, "to");
begin
  insert into duly.message (id, workspace_id, body, category) values (new_id, workspace, body, 'opt_out_reply');
  insert into duly.delivery_row
    (id, workspace_id, message_id, channel, "to", address_key, priority, due_at, expires_at, segments)
  values (new_id, workspace, new_id, channel::duly.channel, "to", key, 1, now(), now() + interval '5 minutes',
          case when channel = 'sms' then duly.segments(body) else 1 end);
  insert into duly.answer (inbound_id, workspace_id, address_key, delivery_id) values (inbound, workspace, key, new_id);
  perform duly.tell(workspace, channel, 1, now());
  return new_id;
end $$;

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

-- The one place that queues one: a new delivery's id, the id that this idempotency key has already, or an error.
-- As before; the workspace's footer is appended, and what must not be written to is skipped at once, with its reason.
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
  plain text := body;
  key uuid;
  stop text;
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
      insert into duly.message (id, workspace_id, body, category, template, variables, metadata)
      values (new_id, workspace.id, body, category, template, variables, metadata)
    )
    insert into duly.delivery_row
      (id, workspace_id, message_id, channel, "to", address_key, priority, due_at, expires_at, segments, state, reason, detail)
    values (new_id, workspace.id, new_id, channel::duly.channel, "to", key, priority, due_at, expires_at,
            case when channel <> 'sms' or octet_length(body) <= 70 then 1 else duly.segments(body) end,
            (case when stop is null then 'queued' else 'skipped' end)::duly.state, stop,
            case when stop is not null then 'suppression: found when it was queued' end);
    if stop is null then
      perform duly.tell(workspace.id, channel, priority, due_at);
    end if;
    id := new_id;
    return;
  end if;

  hash := sha256(convert_to(
    jsonb_build_array(channel, "to", plain, category, template, variables, metadata)::text, 'UTF8'));

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
    values (workspace.id, sha256(convert_to(jsonb_build_array(channel, "to", plain)::text, 'UTF8')), new_id, now())
    on conflict (workspace_id, digest) do update set at = now(), delivery_id = excluded.delivery_id
      where r.at <= now() - workspace.duplicate_window;
    if not found then
      delete from duly.message m where m.id = new_id and m.workspace_id = workspace.id;
      error := format('body: equal content went to this address less than %s ago', workspace.duplicate_window);
      return;
    end if;
  end if;

  insert into duly.delivery_row
    (id, workspace_id, message_id, channel, "to", address_key, priority, due_at, expires_at, segments, state, reason, detail)
  values (new_id, workspace.id, new_id, channel::duly.channel, "to", key, priority, due_at, expires_at,
          case when channel = 'sms' then duly.segments(body) else 1 end,
          (case when stop is null then 'queued' else 'skipped' end)::duly.state, stop,
            case when stop is not null then 'suppression: found when it was queued' end);

  if stop is null then
    perform duly.tell(workspace.id, channel, priority, due_at);
  end if;
  id := new_id;
end $$;

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

-- Queues the lines after `after_line` up to `last_line` in one transaction, and answers which were refused and why.
-- What was done already is not done again and answered the same, so a call whose answer was lost is repeated, and
-- two who upload the same file take turns. The arrays are the columns; one that is null, or a value that is, means
-- the upload's own. Lines are checked as `duly.enqueue` checks, footers and suppressions included.
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
        insert into duly.message (id, workspace_id, body, category, metadata)
        select c.id, u.workspace_id, c.body, c.category, c.metadata from checked c
        where u.message_id is null and c.error is null
      ), delivery as (
        insert into duly.delivery_row
          (id, workspace_id, message_id, channel, "to", address_key, priority, due_at, expires_at, segments, state, reason, detail)
        select c.id, u.workspace_id, coalesce(u.message_id, c.id), u.channel, c."to", c.address_key, c.priority, c.due_at,
               c.expires_at,
               case when u.channel <> 'sms' or octet_length(c.body) <= 70 then 1 -- so short a text is one part in any letters
                    else duly.segments(c.body) end,
               (case when stop.reason is null then 'queued' else 'skipped' end)::duly.state, stop.reason,
               case when stop.reason is not null then 'suppression: found when it was queued' end
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

-- Makes a workspace known, or changes its settings. Returns its id. Footers and their categories come together.
drop function duly.register_workspace(text, interval);
create function duly.register_workspace(
  name text, duplicate_window interval default null, footers jsonb default null, footer_categories text[] default null
) returns integer
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
    and w.duplicate_window is not distinct from register_workspace.duplicate_window
    and w.footers is not distinct from register_workspace.footers
    and w.footer_categories is not distinct from register_workspace.footer_categories;
  if found_id is null then
    insert into duly.workspace as w (name, duplicate_window, footers, footer_categories)
    values (register_workspace.name, register_workspace.duplicate_window, register_workspace.footers,
            register_workspace.footer_categories)
    on conflict on constraint workspace_name_key do update
    set duplicate_window = excluded.duplicate_window, footers = excluded.footers,
        footer_categories = excluded.footer_categories
    returning w.id into found_id;
  end if;
  return found_id;
end $$;

revoke all on all functions in schema duly from public;
grant execute on function
  duly.record_consent(text, text, text, text, text, text, text, jsonb, timestamptz),
  duly.do_not_contact(text, text, text, text, text), duly.contact_again(text, text, text, text)
  to duly_producer, duly_daemon;
grant execute on function
  duly.register_workspace(text, interval, jsonb, text[]), duly.set_verified(text, boolean, text, text),
  duly.address_key(text, text), duly.address_hash(bytea, bytea, text, text),
  duly.consent_recorded(integer, uuid, text, text, text, text, text, text, jsonb, text, timestamptz),
  duly.skip_waiting(uuid, integer, text, text, text, text), duly.answer_keyword(integer, uuid, text, text, text),
  duly.charge_caps(uuid[], integer[], uuid[], text[], integer[], double precision[], timestamptz[])
  to duly_daemon;
grant select on duly.suppression, duly.consent, duly.contact, duly.address, duly.cap_use, duly.ruling, duly.verification,
  duly.answer
  to duly_daemon;
grant insert on duly.suppression, duly.consent, duly.contact, duly.address, duly.cap_use, duly.ruling, duly.answer
  to duly_daemon;
grant update on duly.contact, duly.address, duly.cap_use to duly_daemon;
grant delete on duly.suppression to duly_daemon;
