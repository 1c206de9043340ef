-- Privacy: what is known of a person can be found, held for a court, and erased; what is old goes by itself.

-- The address of an attempt and of a conversation under the keyed hash, which stays when the address itself goes.
alter table duly.attempt add column address_key uuid;
update duly.attempt a set address_key = d.address_key
from duly.delivery_row d where d.id = a.delivery_id and d.workspace_id = a.workspace_id;
alter table duly.attempt drop column address_hash; -- and with it the index
create index attempt_address on duly.attempt (address_key, began_at);

alter table duly.conversation add column address_key uuid;
update duly.conversation k set address_key = duly.address_hash(h.inner_pad, h.outer_pad, k.channel::text, k.address)
from duly.hash_key h;
alter table duly.conversation
  alter column address_key set not null,
  drop constraint conversation_workspace_id_channel_address_key,
  add constraint conversation_address unique (workspace_id, channel, address_key);
create index conversation_address_key on duly.conversation (address_key);

-- An address for those who have no key to what is sealed.
create function duly.shown(address text, sealed bytea) returns text
language sql immutable parallel safe
as $$ select case when sealed is null then address else '<sealed>' end $$;

-- Under which keys an address may be known, whatever its channel.
create function duly.address_keys(address text) returns uuid[]
language sql stable security definer set search_path = duly, pg_temp
as $$
  select array_agg(duly.address_hash(k.inner_pad, k.outer_pad, kind.channel, address))
  from duly.hash_key k, unnest(array['sms', 'email', 'telegram', 'push', 'in_app']) kind (channel)
$$;

-- What is sealed (see the next migration) stands in `sealed`, and the columns it comes from are empty. sealed_with: null:
-- in clear, and stays so; 0: in clear, and to be sealed; else the generation of the data key. The indexes have no row
-- of workspaces that do not ask for it.
alter table duly.message add column sealed bytea, add column sealed_with smallint;
alter table duly.delivery_row add column sealed bytea, add column sealed_with smallint;
alter table duly.address add column sealed bytea, add column sealed_with smallint;
alter table duly.inbound add column sealed bytea, add column sealed_with smallint;
alter table duly.conversation add column sealed bytea, add column sealed_with smallint;
create index message_sealed on duly.message (workspace_id, sealed_with, id) where sealed_with is not null;
create index delivery_row_sealed on duly.delivery_row (workspace_id, sealed_with, id) where sealed_with is not null;
create index address_sealed on duly.address (workspace_id, sealed_with) where sealed_with is not null;
create index inbound_sealed on duly.inbound (workspace_id, sealed_with, id) where sealed_with is not null;
create index conversation_sealed on duly.conversation (workspace_id, sealed_with, id) where sealed_with is not null;

-- What must not be removed, because a court or an authority may ask for it: an address, or a whole workspace (then
-- the key is all zeros). It holds until it is released; the row stays.
create table duly.legal_hold (
  id uuid primary key,
  workspace_id integer not null,
  address_key uuid not null,
  who text not null,
  why text not null,
  at timestamptz not null default now(),
  released_at timestamptz,
  released_by text,
  released_why text
);
create unique index legal_hold_address on duly.legal_hold (address_key, workspace_id) where released_at is null;

-- Each erasure: by whom, why, what of, and how many rows. The keys are all that still tells whose.
create table duly.erasure (
  id uuid primary key,
  workspace_id integer not null,
  address_keys uuid[] not null,
  who text not null,
  why text not null,
  counts jsonb not null,
  at timestamptz not null default now()
);
create index erasure_at on duly.erasure (at);

-- Since when and why an address is under a legal hold; null: it is not.
create function duly.held_for(workspace integer, keys uuid[]) returns text
language sql stable
as $$
  select format('since %s: %s', to_char(h.at at time zone 'UTC', 'YYYY-MM-DD'), h.why) from duly.legal_hold h
  where h.address_key = any (keys || '00000000-0000-0000-0000-000000000000'::uuid) and h.workspace_id = workspace
    and h.released_at is null
  limit 1
$$;

-- Raises 22023 where nobody says who decides, or why.
create function duly.check_who_and_why(who text, why text) returns void
language plpgsql immutable
as $$
begin
  if coalesce(btrim(who), '') = '' or char_length(who) > 200 then
    raise exception 'who: say who decides, in at most 200 characters' using errcode = '22023';
  elsif coalesce(btrim(why), '') = '' or char_length(why) > 1000 then
    raise exception 'why: give the reason, in at most 1000 characters' using errcode = '22023';
  end if;
end $$;

-- The workspace and the key that a legal hold is about. Raises 22023, and 42501 for all but the operator.
create function duly.legal_hold_subject(
  workspace text, channel text, "to" text, out workspace_id integer, out address_key uuid
)
language plpgsql stable
as $$
declare
  problem text := case when "to" is not null then duly.address_problem(channel, "to") end;
begin
  if not pg_has_role(duly.caller(), 'duly_daemon', 'usage') then
    raise exception 'a legal hold is the operator''s' using errcode = '42501';
  elsif problem is not null then
    raise exception '%', problem using errcode = '22023';
  end if;
  workspace_id := (duly.writable_workspace(workspace)).id;
  address_key := case when "to" is null then '00000000-0000-0000-0000-000000000000'
                      else duly.address_key(channel, "to") end;
end $$;

-- Puts an address, or without one the workspace, under a legal hold. False: it was already.
create function duly.legal_hold_begin(
  workspace text, who text, why text, channel text default null, "to" text default null
) returns boolean
language plpgsql security definer set search_path = duly, pg_temp
as $$
declare
  subject record;
begin
  perform duly.check_who_and_why(who, why);
  select * into subject from duly.legal_hold_subject(workspace, channel, "to");
  perform from duly.workspace w where w.id = subject.workspace_id for update; -- after the erasures under way
  insert into duly.legal_hold (id, workspace_id, address_key, who, why)
  values (duly.new_id(), subject.workspace_id, subject.address_key, who, why)
  on conflict do nothing;
  return found;
end $$;

-- Releases a legal hold. False: there was none.
create function duly.legal_hold_end(
  workspace text, who text, why text, channel text default null, "to" text default null
) returns boolean
language plpgsql security definer set search_path = duly, pg_temp
as $$
declare
  subject record;
begin
  perform duly.check_who_and_why(who, why);
  select * into subject from duly.legal_hold_subject(workspace, channel, "to");
  update duly.legal_hold h
  set released_at = now(), released_by = legal_hold_end.who, released_why = legal_hold_end.why
  where h.workspace_id = subject.workspace_id and h.address_key = subject.address_key and h.released_at is null;
  return found;
end $$;

-- Every delivery to these addresses, in whatever state: by index, whatever else there is.
create function duly.deliveries_to(workspace integer, keys uuid[]) returns setof uuid
language sql stable
as $$
  select d.id from duly.delivery_row d
  where d.address_key = any (keys) and d.state in ('queued', 'failed', 'expired', 'skipped', 'canceled')
    and d.workspace_id = workspace
  union
  select a.delivery_id from duly.attempt a where a.address_key = any (keys) and a.workspace_id = workspace
  union
  select d.id from duly.delivery_row d
  where d.node_id is not null and d.state in ('leased', 'sending') and d.address_key = any (keys) and d.workspace_id = workspace
  union
  select d.id from duly.delivery_row d
  where d.state = 'uncertain' and d.address_key = any (keys) and d.workspace_id = workspace
$$;

-- The contacts that have one of these addresses.
create function duly.contacts_at(workspace integer, keys uuid[]) returns setof uuid
language sql stable
as $$
  select distinct a.contact_id from duly.address a where a.address_key = any (keys) and a.workspace_id = workspace
$$;

-- Under which keys a person is known: the address given, and all others of the contacts that have it.
create function duly.person(
  workspace integer, channel text, "to" text, contact uuid, out contacts uuid[], out keys uuid[]
)
language plpgsql stable
as $$
declare
  given uuid[] := case when "to" is null then '{}' else array[duly.address_key(channel, "to")] end;
begin
  contacts := array(
    select duly.contacts_at(workspace, given)
    union
    select c.id from duly.contact c where c.id = contact and c.workspace_id = workspace);
  keys := array(
    select unnest(given)
    union
    select a.address_key from duly.address a where a.contact_id = any (contacts) and a.workspace_id = workspace);
end $$;

-- Removes what was said in deliveries and to whom. Their states, times and counts stay. A message that has the id of
-- its delivery is that delivery's own; one of many recipients stays.
create function duly.blank(
  workspace integer, ids uuid[], out deliveries bigint, out messages bigint, out attempts bigint, out rulings bigint,
  out resolutions bigint
)
language plpgsql
as $$
begin
  update duly.delivery_row d
  set "to" = '', sealed = null, sealed_with = null, detail = null,
      dismissed_at = case when d.state = 'failed' then coalesce(d.dismissed_at, now()) end
  where d.id = any (ids) and d.workspace_id = workspace;
  get diagnostics deliveries = row_count;
  update duly.message m
  set body = '', variables = '{}', metadata = '{}', sealed = null, sealed_with = null, idempotency_key = null,
      content_hash = null
  where m.id = any (ids) and m.workspace_id = workspace;
  get diagnostics messages = row_count;
  update duly.attempt a set detail = null, rulings = null
  where a.delivery_id = any (ids) and a.workspace_id = workspace and (a.detail is not null or a.rulings is not null);
  get diagnostics attempts = row_count;
  update duly.ruling r set rulings = '[]' where r.delivery_id = any (ids) and r.workspace_id = workspace;
  get diagnostics rulings = row_count;
  update duly.resolution r set detail = null
  where r.delivery_id = any (ids) and r.workspace_id = workspace and r.detail is not null;
  get diagnostics resolutions = row_count;
  delete from duly.recent_content c where c.workspace_id = workspace and c.delivery_id = any (ids);
end $$;

-- Whether a text names one of these addresses. Numbers are compared by their last nine digits, as people write them
-- in many ways; a short id could be any word.
create function duly.names(text text, addresses text[]) returns boolean
language sql immutable
as $$
  select exists (
    select from unnest(addresses) a (address)
    where case when a.address ~ '^\+[0-9]{7,}$'
               then position(right(a.address, 9) in regexp_replace(text, '[^0-9]', '', 'g')) > 0
               else char_length(a.address) > 4 and position(lower(a.address) in lower(text)) > 0 end)
$$;

-- Removes the words that people typed about a person: why they decided on a delivery, and lines of uploads that were
-- refused. Returns how many of the latter.
create function duly.blank_words(workspace integer, ids uuid[], addresses text[]) returns bigint
language plpgsql
as $$
declare
  refusals bigint;
begin
  update duly.decision d set why = '(erased)'
  where d.delivery_id = any (ids) and d.workspace_id = workspace and duly.names(d.why, addresses);
  update duly.upload_refusal r set error = split_part(r.error, ':', 1) || ': (erased)'
  from duly.upload u
  where u.workspace_id = workspace and r.upload_id = u.id and r.workspace_id = workspace and duly.names(r.error, addresses);
  get diagnostics refusals = row_count;
  return refusals;
end $$;

-- Removes what a person wrote to us. The conversation stays under its key.
create function duly.blank_inbound(
  workspace integer, keys uuid[], out inbound bigint, out conversations bigint
)
language plpgsql
as $$
begin
  update duly.inbound i set body = '', from_address = '', media_urls = '{}', sealed = null, sealed_with = null
  from duly.conversation k
  where k.address_key = any (keys) and k.workspace_id = workspace
    and i.conversation_id = k.id and i.workspace_id = workspace;
  get diagnostics inbound = row_count;
  update duly.conversation k set address = '', sealed = null, sealed_with = null
  where k.address_key = any (keys) and k.workspace_id = workspace;
  get diagnostics conversations = row_count;
end $$;

-- Locks the deliveries to an address and raises 55006 while one of them is open: its text is on its way, and what
-- becomes of it must still be known.
create function duly.check_none_open(workspace integer, ids uuid[]) returns void
language plpgsql
as $$
declare
  open record;
begin
  perform from duly.delivery_row d where d.id = any (ids) and d.workspace_id = workspace order by d.id for update;
  select d.id, d.state, d.state = 'uncertain' and d.ask_at is null as undecided, count(*) over () as total into open
  from duly.delivery_row d
  where d.id = any (ids) and d.workspace_id = workspace and d.state in ('leased', 'sending', 'uncertain')
  order by d.id limit 1;
  if found then
    raise exception 'delivery % is %, and % in all are open: %', open.id, open.state, open.total,
      case when open.undecided then 'decide on it with `duly replay`, then erase again'
           else 'wait until its call has ended, then erase again' end
      using errcode = '55006';
  end if;
end $$;

-- Erases a person from a workspace: whoever has this address, with the contact's other addresses, or this contact.
-- What is queued is skipped; texts, addresses and names go; states, times and counts stay under the keyed hash, as do
-- the consent log and a suppression, so that the person is not written to again. The operator also erases what
-- came from them and is nobody's. Returns how many rows of each kind. Raises 22023; 55006 while a delivery is open;
-- 55000 for a legal hold; P0002 for a contact that is not there.
create function duly.erase(
  workspace text, who text, why text, channel text default null, "to" text default null, contact uuid default null
) returns jsonb
language plpgsql security definer set search_path = duly, pg_temp
as $$
#variable_conflict use_variable
declare
  workspace_id integer := (duly.writable_workspace(workspace)).id;
  problem text := case when "to" is not null then duly.address_problem(channel, "to") end;
  person record;
  addresses text[];
  ids uuid[];
  hold text;
  skipped bigint;
  blanked record;
  heard record;
  strangers record;
  counts jsonb;
begin
  perform duly.check_who_and_why(who, why);
  if problem is not null then
    raise exception '%', problem using errcode = '22023';
  elsif "to" is null and contact is null then
    raise exception 'to: give an address or a contact' using errcode = '22023';
  end if;
  perform from duly.workspace w where w.id = workspace_id for share; -- no legal hold begins meanwhile
  select * into person from duly.person(workspace_id, channel, "to", contact);
  if contact is not null and not contact = any (person.contacts) then
    raise exception 'contact: there is no contact % in %', contact, workspace using errcode = 'P0002';
  end if;
  addresses := array(
    select "to" where "to" is not null
    union
    select a.address from duly.address a
    where a.contact_id = any (person.contacts) and a.workspace_id = workspace_id and a.address <> '');
  if duly.names(why, addresses) then
    raise exception 'why: names the address, and is kept' using errcode = '22023';
  end if;
  hold := duly.held_for(workspace_id, person.keys);
  if hold is not null then
    raise exception 'under a legal hold %', hold using errcode = '55000';
  end if;
  ids := array(select duly.deliveries_to(workspace_id, person.keys));
  perform duly.check_none_open(workspace_id, ids);

  update duly.delivery_row d set state = 'skipped', reason = 'erased', state_at = now()
  where d.id = any (ids) and d.workspace_id = workspace_id and d.state = 'queued';
  get diagnostics skipped = row_count;
  select * into blanked from duly.blank(workspace_id, ids);
  select * into heard from duly.blank_inbound(workspace_id, person.keys);
  if pg_has_role(duly.caller(), 'duly_daemon', 'usage') then
    select * into strangers from duly.blank_inbound(0, person.keys);
  else
    select 0::bigint as inbound, 0::bigint as conversations into strangers;
  end if;
  counts := to_jsonb(blanked) || jsonb_build_object(
    'skipped', skipped, 'inbound', heard.inbound + strangers.inbound,
    'conversations', heard.conversations + strangers.conversations,
    'refusals', duly.blank_words(workspace_id, ids, addresses),
    'addresses', cardinality(person.keys), 'contacts', cardinality(person.contacts));
  delete from duly.cap_use u where u.address_key = any (person.keys) and u.workspace_id = workspace_id;
  delete from duly.address a where a.contact_id = any (person.contacts) and a.workspace_id = workspace_id;
  delete from duly.contact c where c.id = any (person.contacts) and c.workspace_id = workspace_id;
  insert into duly.suppression (address_key, workspace_id, reason, source)
  select unnest(person.keys), workspace_id, 'erased', left(who, 100)
  on conflict do nothing;
  insert into duly.erasure (id, workspace_id, address_keys, who, why, counts)
  values (duly.new_id(), workspace_id, person.keys, who, why, counts);
  perform duly.audit_append(who, 'erased', workspace_id, null, counts);
  return counts;
end $$;

-- Erases what was queued for a person just while they were erased, in a transaction that could not know of it: the
-- mark has kept it from being sent. Looks at the erasures of the last two days. Returns how many deliveries.
create function duly.erase_again() returns bigint
language plpgsql security definer set search_path = duly, pg_temp
as $$
declare
  erasure duly.erasure;
  ids uuid[];
  erased bigint := 0;
begin
  for erasure in select * from duly.erasure e where e.at > now() - interval '2 days' loop
    continue when duly.held_for(erasure.workspace_id, erasure.address_keys) is not null;
    ids := array(
      select d.id from duly.delivery_row d
      where d.address_key = any (erasure.address_keys) and d.workspace_id = erasure.workspace_id
        and (d."to" <> '' or d.sealed is not null)
        and d.state in ('queued', 'failed', 'expired', 'skipped', 'canceled')
      order by d.id for update skip locked);
    continue when ids = '{}';
    update duly.delivery_row d set state = 'skipped', reason = 'erased', state_at = now()
    where d.id = any (ids) and d.workspace_id = erasure.workspace_id and d.state = 'queued';
    erased := erased + (duly.blank(erasure.workspace_id, ids)).deliveries;
  end loop;
  return erased;
end $$;

-- When somebody last removed what is old: daemons take turns.
create table duly.retention (
  one boolean primary key default true check (one),
  pass_at timestamptz not null default '-infinity'
);
insert into duly.retention default values;

create index inbound_received on duly.inbound (received_at);

-- Whether a delivery has ended. A platform's last word comes within days: what is `sent` for a week stays so.
create function duly.ended(state duly.state, state_at timestamptz) returns boolean
language sql stable parallel safe
as $$
  select state in ('delivered', 'read', 'failed', 'expired', 'skipped', 'canceled')
         or state = 'sent' and state_at < now() - interval '7 days'
$$;

-- Raises 22023 for a time that is so short that nobody can mean it.
create function duly.check_keep(keep interval) returns void
language plpgsql immutable
as $$
begin
  if keep is null or keep < interval '1 day' then
    raise exception 'keep: must be a day or more' using errcode = '22023';
  end if;
end $$;

-- The next deliveries by id, from `after` on, of those old enough to have ended `keep` ago: `reached` is the last one
-- looked at, null where there is none; `old` those of these workspaces that ended so long ago and that no legal hold
-- covers, locked. What others have locked is left for another time.
create function duly.take_old(
  workspaces integer[], keep interval, after uuid, how_many integer, out reached uuid, out old uuid[]
)
language plpgsql
as $$
declare
  portion uuid[] := array(
    select d.id from duly.delivery_row d
    where d.id > after and d.id < duly.first_id_at(now() - keep)
    order by d.id limit how_many);
begin
  perform duly.check_keep(keep);
  reached := portion[cardinality(portion)];
  old := array(
    select d.id from duly.delivery_row d
    where d.id = any (portion) and d.workspace_id = any (workspaces)
      and duly.ended(d.state, d.state_at) and d.state_at < now() - keep
      and duly.held_for(d.workspace_id, array[d.address_key]) is null
    order by d.id
    for update skip locked);
end $$;

-- Empties the messages of old deliveries, a portion at a time: see duly.take_old. A failed one cannot be sent again
-- without its text, so it is no dead letter any more.
create function duly.empty_old(
  workspaces integer[], keep interval, after uuid, how_many integer, out reached uuid, out emptied bigint
)
language plpgsql security definer set search_path = duly, pg_temp
as $$
#variable_conflict use_column
declare
  taken record;
begin
  select * into taken from duly.take_old(workspaces, keep, after, how_many);
  update duly.message m
  set body = '', variables = '{}', metadata = '{}', sealed = null, sealed_with = null, content_hash = null
  where m.id = any (taken.old) and m.workspace_id = any (workspaces)
    and (m.body <> '' or m.variables <> '{}' or m.metadata <> '{}' or m.sealed is not null or m.content_hash is not null);
  get diagnostics emptied = row_count;
  update duly.delivery_row d set dismissed_at = now()
  where d.id = any (taken.old) and d.workspace_id = any (workspaces) and d.message_id = d.id
    and d.state = 'failed' and d.dismissed_at is null;
  reached := taken.reached;
end $$;

-- Removes old deliveries with everything that is known of them, a portion at a time: see duly.take_old.
create function duly.remove_old(
  workspaces integer[], keep interval, after uuid, how_many integer, out reached uuid, out removed bigint
)
language plpgsql security definer set search_path = duly, pg_temp
as $$
#variable_conflict use_column
declare
  taken record;
begin
  select * into taken from duly.take_old(workspaces, keep, after, how_many);
  delete from duly.attempt a where a.delivery_id = any (taken.old) and a.workspace_id = any (workspaces);
  delete from duly.callback c where c.delivery_id = any (taken.old) and c.workspace_id = any (workspaces);
  delete from duly.ruling r where r.delivery_id = any (taken.old) and r.workspace_id = any (workspaces);
  delete from duly.resolution r where r.delivery_id = any (taken.old) and r.workspace_id = any (workspaces);
  delete from duly.decision p where p.delivery_id = any (taken.old) and p.workspace_id = any (workspaces);
  delete from duly.answer n where n.delivery_id = any (taken.old) and n.workspace_id = any (workspaces);
  delete from duly.message m where m.id = any (taken.old) and m.workspace_id = any (workspaces);
  delete from duly.delivery_row d where d.id = any (taken.old) and d.workspace_id = any (workspaces);
  get diagnostics removed = row_count;
  reached := taken.reached;
end $$;

-- Empties the one message of a campaign's many deliveries when all of them are old, and removes its refused lines;
-- with `remove`, removes the message when no delivery has it any more. The upload itself stays: the same file is not
-- sent twice. A campaign's deliveries have ids of the time in which it was uploaded. Returns how many messages.
create function duly.empty_campaigns(workspaces integer[], keep interval, remove boolean) returns bigint
language plpgsql security definer set search_path = duly, pg_temp
as $$
declare
  upload duly.upload;
  first uuid;
  last uuid;
  done bigint := 0;
begin
  perform duly.check_keep(keep);
  for upload in
    select u.* from duly.upload u
    left join duly.message m on m.id = u.message_id and m.workspace_id = u.workspace_id
    where u.workspace_id = any (workspaces) and u.moved_at < now() - keep
      and (m.body <> '' or m.metadata <> '{}' or m.sealed is not null or remove and m.id is not null
           or exists (select from duly.upload_refusal r where r.upload_id = u.id and r.workspace_id = u.workspace_id))
    order by u.id limit 100
    for update of u skip locked
  loop
    first := duly.first_id_at(upload.began_at - interval '1 minute');
    last := duly.first_id_at(upload.moved_at + interval '1 minute');
    continue when duly.held_for(upload.workspace_id, '{}') is not null or exists (
      select from duly.delivery_row d
      where d.id between first and last and d.workspace_id = upload.workspace_id and d.message_id = upload.message_id
        and (remove or not duly.ended(d.state, d.state_at) or d.state_at >= now() - keep
             or duly.held_for(d.workspace_id, array[d.address_key]) is not null));
    delete from duly.upload_refusal r where r.upload_id = upload.id and r.workspace_id = upload.workspace_id;
    if remove then
      delete from duly.message m where m.id = upload.message_id and m.workspace_id = upload.workspace_id;
    else
      update duly.message m set body = '', metadata = '{}', sealed = null, sealed_with = null
      where m.id = upload.message_id and m.workspace_id = upload.workspace_id;
      update duly.delivery_row d set dismissed_at = now()
      where d.id between first and last and d.workspace_id = upload.workspace_id and d.message_id = upload.message_id
        and d.state = 'failed' and d.dismissed_at is null;
    end if;
    done := done + 1;
  end loop;
  return done;
end $$;

-- Empties what people wrote `keep` ago and, where `since` is given, not much before that; at most so many. With
-- `remove`, removes it, and conversations that have ended. Returns how many messages.
create function duly.empty_inbound(
  workspaces integer[], keep interval, since timestamptz, how_many integer, remove boolean
) returns bigint
language plpgsql security definer set search_path = duly, pg_temp
as $$
declare
  old uuid[];
begin
  perform duly.check_keep(keep);
  old := array(
    select i.id from duly.inbound i join duly.conversation k on k.id = i.conversation_id and k.workspace_id = i.workspace_id
    where i.received_at < now() - keep and i.received_at >= coalesce(since - keep, '-infinity')
      and i.workspace_id = any (workspaces) and (remove or i.body <> '' or i.media_urls <> '{}' or i.sealed is not null)
      and duly.held_for(k.workspace_id, array[k.address_key]) is null
    order by i.received_at limit how_many
    for update of i skip locked);
  if remove then
    delete from duly.inbound i where i.id = any (old) and i.workspace_id = any (workspaces);
    delete from duly.conversation k
    where (k.id, k.workspace_id) in (
      select c.id, c.workspace_id from duly.conversation c
      where c.workspace_id = any (workspaces) and c.last_inbound_at < now() - keep
        and not exists (select from duly.inbound i where i.conversation_id = c.id)
        and duly.held_for(c.workspace_id, array[c.address_key]) is null
      limit how_many for update skip locked);
  else
    update duly.inbound i set body = '', media_urls = '{}', sealed = null, sealed_with = null
    where i.id = any (old) and i.workspace_id = any (workspaces);
  end if;
  return cardinality(old);
end $$;

-- As before; an address that is sealed is shown as such, and that of who was erased is null.
create or replace view duly.delivery with (security_barrier) as
select d.id, w.name as workspace, d.channel::text as channel,
       case when d.sealed is null then nullif(d."to", '') else '<sealed>' end as "to", d.state::text as state, d.reason,
       d.due_at, d.priority, d.attempts, a.platform, d.provider_id, d.created_at, d.sent_at, d.delivered_at,
       d.expires_at, d.account, d.segments, d.message_id, d.state_at
from duly.delivery_row d
join duly.workspace w on w.id = d.workspace_id
left join duly.account a on a.name = d.account
where d.workspace_id = any (array(select duly.visible_workspaces()));

revoke all on all functions in schema duly from public;
grant execute on function duly.erase(text, text, text, text, text, uuid) to duly_producer, duly_daemon;
grant execute on function
  duly.legal_hold_begin(text, text, text, text, text), duly.legal_hold_end(text, text, text, text, text),
  duly.erase_again(), duly.empty_old(integer[], interval, uuid, integer),
  duly.remove_old(integer[], interval, uuid, integer), duly.empty_campaigns(integer[], interval, boolean),
  duly.empty_inbound(integer[], interval, timestamptz, integer, boolean), duly.address_keys(text),
  duly.held_for(integer, uuid[]), duly.deliveries_to(integer, uuid[]),
  duly.contacts_at(integer, uuid[]), duly.person(integer, text, text, uuid), duly.shown(text, bytea)
  to duly_daemon;
grant select on duly.legal_hold, duly.erasure, duly.retention to duly_daemon;
grant update on duly.retention to duly_daemon;
