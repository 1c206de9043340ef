-- Contacts, consent and do-not-contact lists as producers and files put them in, one or many at a time.

alter table duly.workspace
  add column double_opt_in boolean not null default false; -- a form's yes waits until the person has said yes too

-- The zones that have been asked for: pg_timezone_names reads hundreds of files each time it is asked.
create table duly.time_zone (name text primary key);

-- Remembers which of these names are zones of this server.
create function duly.learn_time_zones(names text[]) returns void
language plpgsql
as $$
begin
  names := array(select distinct n.name from unnest(names) n (name) where n.name <> ''
                 and not exists (select from duly.time_zone z where z.name = n.name));
  if cardinality(names) > 0 then
    insert into duly.time_zone (name)
    select z.name from pg_timezone_names z
    where z.name = any (names) and z.name !~ '^(posix|right)/' and z.name not in ('Factory', 'localtime', 'posixrules')
    on conflict do nothing;
  end if;
end $$;

-- What is wrong with the fields of an item: of a kind that it does not take, or too long; null where nothing is.
-- `texts` are the fields that are texts, with the most characters each may have; null is none.
create function duly.fields_problem(item jsonb, texts text[], longest integer[], others text[]) returns text
language plpgsql immutable parallel safe
as $$
declare
  word text;
begin
  if jsonb_typeof(item) is distinct from 'object' then
    return 'item: must be a JSON object';
  elsif item - texts - others <> '{}' then
    return format('%s: is none of the fields %s', (select left(min(k), 40) from jsonb_object_keys(item - texts - others) k),
                  array_to_string(texts || others, ', '));
  end if;
  for i in 1 .. cardinality(texts) loop
    word := item ->> texts[i];
    continue when word is null;
    if jsonb_typeof(item -> texts[i]) <> 'string' then
      return format('%s: must be a text', texts[i]);
    elsif octet_length(word) > longest[i] and char_length(word) > longest[i] then
      return format('%s: has %s characters; it may have %s', texts[i], char_length(word), longest[i]);
    elsif word ~ '[[:cntrl:]]' then
      return format('%s: has control characters; leave them out', texts[i]);
    end if;
  end loop;
  return null;
end $$;

-- What is wrong with one of a contact's addresses.
create function duly.contact_address_problem(given jsonb) returns text
language plpgsql stable parallel safe
as $$
declare
  problem text;
begin
  if jsonb_typeof(given) <> 'object' or given - '{channel,address,verified,own}'::text[] <> '{}'
     or jsonb_typeof(given -> 'channel') is distinct from 'string' or jsonb_typeof(given -> 'address') is distinct from 'string'
     or jsonb_typeof(given -> 'verified') not in ('boolean', 'null') or jsonb_typeof(given -> 'own') not in ('boolean', 'null') then
    return 'addresses: each must be an object with the texts channel and address, and verified and own as true or false';
  end if;
  problem := duly.address_problem(given ->> 'channel', given ->> 'address');
  return case when problem like 'to: %' then 'addresses.' || (given ->> 'channel') || substr(problem, 3)
              else 'addresses: ' || problem end;
end $$;

-- What is wrong with a contact, as "field: what, and what would be right"; null where nothing is.
create function duly.contact_problem(item jsonb) returns text
language plpgsql stable parallel safe
as $$
declare
  problem text := duly.fields_problem(
    item, '{external_id,first_name,name,locale,time_zone}', '{255,200,200,35,64}', '{max_per_week,attributes,addresses}');
  addresses jsonb := nullif(item -> 'addresses', 'null');
begin
  if problem is not null then
    return problem;
  elsif item ->> 'locale' !~* '^([a-z]{2,3}(-[a-z0-9]{1,8})*)?$' then
    return format('locale: %L is not a language tag (BCP 47) such as en, pt-BR or zh-Hant-TW', item ->> 'locale');
  elsif item ->> 'time_zone' <> '' and not exists (select from duly.time_zone z where z.name = item ->> 'time_zone') then
    return format('time_zone: %L is not the name of an IANA zone, such as America/New_York', item ->> 'time_zone');
  elsif jsonb_typeof(item -> 'max_per_week') not in ('number', 'null') or item ->> 'max_per_week' !~ '^([0-9]{1,3}|1000)$' then
    return 'max_per_week: must be a whole number from 0 to 1000';
  elsif jsonb_typeof(item -> 'attributes') not in ('object', 'null') then
    return 'attributes: must be a JSON object, such as {"city": "Boston"}';
  elsif jsonb_typeof(addresses) <> 'array' or jsonb_array_length(addresses) > 50 then
    return 'addresses: must be a list of up to 50 objects with channel and address';
  elsif coalesce(item ->> 'external_id', '') = '' and coalesce(jsonb_array_length(addresses), 0) = 0 then
    return 'external_id: is missing; give it, or an address by which an unnamed guest is found again';
  end if;
  for i in 0 .. coalesce(jsonb_array_length(addresses), 0) - 1 loop
    problem := duly.contact_address_problem(addresses -> i);
    if problem is not null then return problem; end if;
  end loop;
  return null;
end $$;

-- The addresses of an item that has no problem.
create function duly.addresses_of(item jsonb)
returns table (channel text, address text, key uuid, verified boolean, own boolean)
language sql stable
as $$
  select a.given ->> 'channel', a.given ->> 'address',
         duly.address_hash(k.inner_pad, k.outer_pad, a.given ->> 'channel', a.given ->> 'address'),
         (a.given ->> 'verified')::boolean, (a.given ->> 'own')::boolean
  from duly.hash_key k, jsonb_array_elements(coalesce(nullif(item -> 'addresses', 'null'), '[]')) a (given)
$$;

-- Who has an address: one row or none. The limit keeps it a look-up for each, whatever the planner thinks of the table.
create function duly.held(workspace integer, channel text, key uuid) returns setof duly.address
language sql stable
as $$
  select a.* from duly.address a
  where a.address_key = held.key and a.workspace_id = held.workspace and a.channel = held.channel limit 1
$$;

-- A contact with what an item says of it. A field that is not there stays, null or an empty text takes it away;
-- attributes are merged key by key (as in RFC 7396, at the top level).
create function duly.patched(contact duly.contact, item jsonb) returns duly.contact
language plpgsql stable
as $$
begin
  contact.external_id := coalesce(contact.external_id, nullif(item ->> 'external_id', ''));
  if item ? 'first_name' then contact.first_name := nullif(item ->> 'first_name', ''); end if;
  if item ? 'name' then contact.name := nullif(item ->> 'name', ''); end if;
  if item ? 'locale' then contact.locale := nullif(item ->> 'locale', ''); end if;
  if item ? 'time_zone' then contact.time_zone := nullif(item ->> 'time_zone', ''); end if;
  if item ? 'max_per_week' then contact.max_per_week := (item ->> 'max_per_week')::smallint; end if;
  if item -> 'attributes' = 'null' then
    contact.attributes := '{}';
  elsif item ? 'attributes' then
    contact.attributes := (contact.attributes || (item -> 'attributes'))
      - array(select e.key from jsonb_each(item -> 'attributes') e where e.value = 'null');
  end if;
  return contact;
end $$;

-- Says that somebody else has just written what was looked at: the same call again will see it.
create function duly.overtaken() returns void
language plpgsql
as $$
begin
  raise exception 'contact: somebody else has just written the same one; try again' using errcode = '40001';
end $$;

-- What guests were known by goes to the contact that they turned out to be, where it does not know better itself.
create function duly.merge_guests(workspace integer, guests uuid[], contact uuid) returns void
language plpgsql
as $$
declare
  guest duly.contact;
begin
  for guest in
    delete from duly.contact g where g.workspace_id = workspace and g.id = any (guests) and g.external_id is null
    returning g.*
  loop
    update duly.contact c
    set first_name = coalesce(c.first_name, guest.first_name), name = coalesce(c.name, guest.name),
        locale = coalesce(c.locale, guest.locale), time_zone = coalesce(c.time_zone, guest.time_zone),
        max_per_week = coalesce(c.max_per_week, guest.max_per_week), attributes = guest.attributes || c.attributes,
        updated_at = now()
    where c.id = contact and c.workspace_id = workspace;
    update duly.address a set contact_id = contact where a.contact_id = guest.id and a.workspace_id = workspace;
  end loop;
end $$;

-- The one place that writes a contact: its id and whether it was created or changed (null: neither), or what is wrong.
--
-- It is the one of that external id; without one, whoever has one of the addresses. An address belongs to one
-- contact. What an unnamed guest has goes, with all else that is known of the guest, to the contact that it is given
-- for: the guest has become known. What a named contact has is not taken from it: `error` says whose it is.
--
-- No sequential scans: a plan that is made while a table is still empty stays for as long as the transaction that
-- fills it.
create function duly.put_contact_checked(workspace duly.workspace, item jsonb, out id uuid, out change text, out error text)
language plpgsql set enable_seqscan = off
as $$
#variable_conflict use_variable
declare
  outside text := nullif(item ->> 'external_id', '');
  present duly.contact;
  wanted duly.contact;
  said record;
  seen text[] := '{}';
  named uuid[] := '{}';
  guests uuid[] := '{}';
  fresh duly.address[] := '{}';
  other duly.address[] := '{}'; -- what is there and has changed
  each duly.address;
  written bigint;
begin
  error := duly.contact_problem(item);
  if error is not null then return; end if;

  for said in
    select g.channel, g.address, g.key, g.verified, g.own, a.contact_id as holder, a.address as held_address,
           coalesce(a.own, false) as held_own, a.verified_at, c.external_id as holder_name
    from duly.addresses_of(item) g
    left join lateral duly.held(workspace.id, g.channel, g.key) a on true
    left join lateral (
      select k.external_id from duly.contact k where k.id = a.contact_id and k.workspace_id = workspace.id limit 1) c on true
  loop
    error := case
      when said.channel || said.key = any (seen) then
        format('addresses.%s: %L is there twice', said.channel, left(said.address, 100))
      when said.holder_name <> outside then
        format('addresses.%s: %L is the address of contact %L; leave it out here, or take it from there first (duly.remove_address)',
               said.channel, left(said.address, 100), said.holder_name)
      when said.own and not said.held_own and not pg_has_role(duly.caller(), 'duly_daemon', 'usage') then
        'addresses: which are the business''s own is for the operator to say; leave out own'
    end;
    if error is not null then return; end if;
    seen := seen || (said.channel || said.key);
    each := (workspace.id, said.key, said.channel, said.holder, said.address,
             case when said.verified is null then said.verified_at when said.verified then coalesce(said.verified_at, now()) end,
             coalesce(said.own, said.held_own), now());
    if said.holder is null then
      fresh := fresh || each;
    else
      if said.held_address <> each.address or said.held_own <> each.own or said.verified_at is distinct from each.verified_at then
        other := other || each;
      end if;
      if said.holder_name is null then
        guests := array_remove(guests, said.holder) || said.holder;
      else
        named := array_remove(named, said.holder) || said.holder;
      end if;
    end if;
  end loop;
  if cardinality(named) > 1 then
    error := 'addresses: belong to several contacts; give external_id, and the addresses of that one only';
    return;
  end if;

  if outside is not null then
    select c.* into present from duly.contact c where c.workspace_id = workspace.id and c.external_id = outside;
  end if;
  if present.id is null and named || guests <> '{}' then -- the oldest guest, where there are several
    select c.* into present from duly.contact c
    where c.id = coalesce(named[1], (select min(g::text)::uuid from unnest(guests) g)) and c.workspace_id = workspace.id;
  end if;
  present.attributes := coalesce(present.attributes, '{}');
  wanted := duly.patched(present, item);
  if pg_column_size(wanted.attributes) > 16384 then
    error := 'attributes: are larger than 16 KiB';
    return;
  end if;
  id := coalesce(present.id, duly.new_id());

  if present.id is null then
    insert into duly.contact (id, workspace_id, external_id, first_name, name, locale, time_zone, max_per_week, attributes)
    values (id, workspace.id, wanted.external_id, wanted.first_name, wanted.name, wanted.locale, wanted.time_zone,
            wanted.max_per_week, wanted.attributes)
    on conflict (workspace_id, external_id) where external_id is not null do nothing;
    if not found then perform duly.overtaken(); end if;
    change := 'created';
  elsif wanted is distinct from present then
    begin
      update duly.contact c
      set (external_id, first_name, name, locale, time_zone, max_per_week, attributes, updated_at) = (
        select p.external_id, p.first_name, p.name, p.locale, p.time_zone, p.max_per_week, p.attributes, now()
        from duly.patched(c, item) p)
      where c.id = id and c.workspace_id = workspace.id;
      if not found then perform duly.overtaken(); end if;
    exception when unique_violation then
      perform duly.overtaken();
    end;
    change := 'changed';
  end if;
  guests := array_remove(guests, id);
  if guests <> '{}' then
    perform duly.merge_guests(workspace.id, guests, id);
    change := coalesce(change, 'changed');
  end if;

  if fresh <> '{}' then
    insert into duly.address (workspace_id, address_key, channel, contact_id, address, verified_at, own)
    select f.workspace_id, f.address_key, f.channel, id, f.address, f.verified_at, f.own from unnest(fresh) f
    on conflict do nothing;
    get diagnostics written = row_count;
    if written < cardinality(fresh) then perform duly.overtaken(); end if;
    change := coalesce(change, 'changed');
  end if;
  foreach each in array other loop
    update duly.address a set address = each.address, verified_at = each.verified_at, own = each.own
    where a.address_key = each.address_key and a.workspace_id = workspace.id and a.channel = each.channel;
    change := coalesce(change, 'changed');
  end loop;
end $$;

-- Puts many contacts in: a JSON array of objects with put_contact's parameter names. One row per item, by position
-- from 1: the contact's id and whether it was created or changed (null: it was so already), or what is wrong with it.
-- A wrong item does not keep the others back.
create function duly.put_contacts(workspace text, items jsonb)
returns table ("position" integer, id uuid, change text, error text)
language plpgsql security definer set search_path = duly, pg_temp
as $$
declare
  found_workspace duly.workspace := duly.writable_workspace(workspace);
  item jsonb;
  written integer := 0;
begin
  if items is null or jsonb_typeof(items) <> 'array' then
    raise exception 'items: must be a JSON array of objects' using errcode = '22023';
  end if;
  perform duly.learn_time_zones(array(select i ->> 'time_zone' from jsonb_array_elements(items) i
                                      where jsonb_typeof(i) = 'object'));
  "position" := 0;
  for item in select value from jsonb_array_elements(items) loop
    "position" := "position" + 1;
    select c.id, c.change, c.error into id, change, error from duly.put_contact_checked(found_workspace, item) c;
    written := written + (change is not null)::integer;
    return next;
  end loop;
  if written > 0 then
    perform duly.audit_append(duly.caller(), 'contacts_imported', found_workspace.id, null, jsonb_build_object('count', written));
  end if;
end $$;

-- Puts a contact in, or changes it, and returns its id. Null leaves a field as it is, an empty text takes it away.
-- Raises 22023 with "field: what is wrong"; 40001 where somebody else has just written the same one.
create function duly.put_contact(
  workspace text, external_id text default null, first_name text default null, name text default null,
  locale text default null, time_zone text default null, max_per_week integer default null,
  attributes jsonb default null, addresses jsonb default null
) returns uuid
language plpgsql security definer set search_path = duly, pg_temp
as $$
declare
  found_workspace duly.workspace := duly.writable_workspace(workspace);
  result record;
begin
  perform duly.learn_time_zones(array[time_zone]);
  select * into result from duly.put_contact_checked(found_workspace, (
    select coalesce(jsonb_object_agg(f.name, f.value) filter (where f.value is not null), '{}')
    from (values ('external_id', to_jsonb(external_id)), ('first_name', to_jsonb(first_name)), ('name', to_jsonb(put_contact.name)),
                 ('locale', to_jsonb(locale)), ('time_zone', to_jsonb(time_zone)), ('max_per_week', to_jsonb(max_per_week)),
                 ('attributes', attributes), ('addresses', addresses)) f (name, value)));
  if result.error is not null then
    raise exception '%', result.error using errcode = '22023';
  end if;
  return result.id;
end $$;

-- Takes an address from the contact that has it; an unnamed guest without another goes with it. True: it was there.
-- Consent and suppressions stay: they are the address's, not the contact's.
create function duly.remove_address(workspace text, channel text, "to" text) returns boolean
language plpgsql security definer set search_path = duly, pg_temp
as $$
#variable_conflict use_variable
declare
  found_workspace duly.workspace := duly.writable_workspace(workspace);
  problem text := duly.address_problem(channel, "to");
  owner uuid;
begin
  if problem is not null then
    raise exception '%', problem using errcode = '22023';
  end if;
  delete from duly.address a
  where a.address_key = duly.address_key(channel, "to") and a.workspace_id = found_workspace.id and a.channel = channel
  returning a.contact_id into owner;
  delete from duly.contact c
  where c.id = owner and c.workspace_id = found_workspace.id and c.external_id is null
    and not exists (select from duly.address a where a.contact_id = owner and a.workspace_id = found_workspace.id);
  return owner is not null;
end $$;

-- The one place that writes consent, and what follows from it: a withdrawal suppresses and ends what waits, a yes
-- lifts what an earlier withdrawal suppressed. What is recorded late does not undo what was said since: a yes lifts no
-- later no, and a no does not suppress what a later yes has allowed. Returns the id, and how many deliveries were ended.
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
    if exists (select from duly.consent c
               where c.address_key = key and c.workspace_id = workspace and c.state = 'given' and c.at > at
                 and c.channel in ('', channel) and c.category in ('', category) and c.account in ('', account)) then
      return;
    end if;
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
      and (account = '' or s.account = account)
      and not exists (select from duly.consent c
                      where c.address_key = key and c.workspace_id = workspace and c.state = 'withdrawn' and c.at > at
                        and c.channel = s.channel and c.category = s.category and c.account = s.account);
  end if;
end $$;

-- What is wrong with a word of consent, as "field: what, and what would be right"; null where nothing is.
create function duly.consent_problem(
  channel text, "to" text, state text, category text, words text, source text, proof jsonb, at timestamptz
) returns text
language plpgsql stable parallel safe
as $$
declare
  problem text := duly.address_problem(channel, "to");
begin
  return case
    when problem is not null then problem
    when state is null or state not in ('given', 'requested', 'withdrawn') then
      format('state: %s is none of given, requested, withdrawn', coalesce(quote_literal(left(state, 40)), 'null'))
    when source is null or source not in ('sql', 'http', 'csv', 'inbound', 'provider', 'person') then
      format('source: %s is none of sql, http, csv, inbound, provider, person', coalesce(quote_literal(left(source, 40)), 'null'))
    when category is null or category <> '' and (category !~ '^[a-z][a-z0-9_]*$' or char_length(category) > 40) then
      'category: must be a category such as marketing, or empty for all'
    when char_length(words) > 1000 then 'words: must have at most 1000 characters'
    when proof is null or jsonb_typeof(proof) <> 'object' or pg_column_size(proof) > 8192 then
      'proof: must be a JSON object of at most 8 KiB'
    when at is null or at > now() + interval '1 day' or at < '1990-01-01Z' then
      'at: must be when it was said, with a zone and not in the future'
  end;
end $$;

-- The one place that takes what a producer, a form or a file says of consent. A yes from a form (sql, http, csv) is
-- stored as requested where the workspace asks for a double opt-in, until the person's own has come; one who has
-- confirmed before need not again. What stands in the log word for word is not written again: `repeated`.
create function duly.consent_checked(
  workspace duly.workspace, channel text, "to" text, said text, category text, words text, source text, proof jsonb,
  at timestamptz, out id uuid, out state text, out repeated boolean, out skipped bigint, out error text
)
language plpgsql set enable_seqscan = off -- as in put_contact_checked
as $$
#variable_conflict use_variable
declare
  key uuid;
begin
  error := duly.consent_problem(channel, "to", said, category, words, source, proof, at);
  if error is not null then return; end if;
  select duly.address_hash(k.inner_pad, k.outer_pad, channel, "to") into key from duly.hash_key k;
  at := least(at, now());
  skipped := 0;
  select c.id, c.state into id, state from duly.consent c
  where c.address_key = key and c.workspace_id = workspace.id and c.at = at and c.channel = channel
    and c.category = category and c.account = '' and c.source = source and c.words is not distinct from words
    and (c.state = said or said = 'given' and c.state = 'requested')
  limit 1;
  repeated := found;
  if repeated then return; end if;
  state := said;
  if said = 'given' and workspace.double_opt_in and source in ('sql', 'http', 'csv') then
    state := coalesce(nullif((
      select c.state from duly.consent c
      where c.address_key = key and c.workspace_id = workspace.id and c.channel in ('', channel)
        and c.category in ('', category)
      order by c.at desc, c.recorded_at desc, c.id desc limit 1), 'withdrawn'), 'requested');
  end if;
  select r.id, r.skipped into id, skipped from duly.consent_recorded(
    workspace.id, key, channel, category, '', state, source, words, proof, duly.caller(), at) r;
  if source = 'person' then
    perform duly.audit_append(duly.caller(), 'consent_recorded', workspace.id, id::text,
                              jsonb_build_object('state', state, 'channel', channel, 'category', category));
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
  result record;
begin
  select * into result from duly.consent_checked(
    duly.writable_workspace(workspace), channel, "to", state, category, words, source, proof, at);
  if result.error is not null then
    raise exception '%', result.error using errcode = '22023';
  end if;
  return result.id;
end $$;

-- Records many: a JSON array of objects with record_consent's parameter names. One row per item, by position from 1:
-- the entry's id, the state that is stored, whether it stood there already, and how many deliveries it ended; or what
-- is wrong with it. A wrong item does not keep the others back.
create function duly.record_consents(workspace text, items jsonb)
returns table ("position" integer, id uuid, state text, repeated boolean, skipped bigint, error text)
language plpgsql security definer set search_path = duly, pg_temp
as $$
#variable_conflict use_column
declare
  found_workspace duly.workspace := duly.writable_workspace(workspace);
  item jsonb;
  result record;
begin
  if items is null or jsonb_typeof(items) <> 'array' then
    raise exception 'items: must be a JSON array of objects' using errcode = '22023';
  end if;
  for "position", item in select n, value from jsonb_array_elements(items) with ordinality i (value, n) loop
    error := duly.fields_problem(
      item, '{channel,to,state,category,source,at}', '{40,1000,40,40,40,64}', '{words,proof}');
    if error is null and jsonb_typeof(item -> 'words') not in ('string', 'null') then
      error := 'words: must be a text';
    end if;
    if error is not null then
      id := null; state := null; repeated := null; skipped := null;
    else
      select * into result from duly.consent_checked(
        found_workspace, item ->> 'channel', item ->> 'to', item ->> 'state', coalesce(item ->> 'category', ''),
        item ->> 'words', coalesce(item ->> 'source', 'sql'), coalesce(nullif(item -> 'proof', 'null'), '{}'),
        case when item ->> 'at' is null then now() else duly.parse_time(item ->> 'at') end);
      id := result.id; state := result.state; repeated := result.repeated; skipped := result.skipped; error := result.error;
    end if;
    return next;
  end loop;
end $$;

-- Puts many addresses on a do-not-contact list: that of a workspace, or with null that of all. A JSON array of objects
-- with channel, "to", category and source, as duly.do_not_contact takes them, or with `hash`, an address's key as an
-- export has it, instead of "to". One row per item, by position from 1: whether it is new on the list and how many
-- deliveries that ended, or what is wrong with it. A wrong item does not keep the others back. Without `skip` nothing
-- that waits is ended now; it is when its time comes.
create function duly.do_not_contact_batch(workspace text, items jsonb, skip boolean default true)
returns table ("position" integer, added boolean, skipped bigint, error text)
language plpgsql security definer set search_path = duly, pg_temp
as $$
#variable_conflict use_column
declare
  found_id integer := duly.list_owner(workspace);
  item jsonb;
  key uuid;
  category text;
  listed integer := 0;
begin
  if items is null or jsonb_typeof(items) <> 'array' then
    raise exception 'items: must be a JSON array of objects' using errcode = '22023';
  end if;
  for "position", item in select n, value from jsonb_array_elements(items) with ordinality i (value, n) loop
    error := duly.fields_problem(
      item, '{channel,to,hash,category,source}', '{40,1000,40,40,100}', '{}');
    category := coalesce(item ->> 'category', '');
    error := coalesce(error, case
      when item ->> 'hash' is null then duly.address_problem(item ->> 'channel', item ->> 'to')
      when item ->> 'to' is not null then 'hash: give either to or hash'
      when item ->> 'hash' !~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then 'hash: is not one of an export'
      when item ->> 'channel' <> '' then duly.address_problem(item ->> 'channel', case item ->> 'channel' when 'email' then 'a@example.com' else '+14155550123' end)
    end, case when category <> '' and (category !~ '^[a-z][a-z0-9_]*$' or char_length(category) > 40) then
      'category: must be a category such as marketing, or empty for all' end);
    added := null; skipped := null;
    if error is null then
      key := coalesce((item ->> 'hash')::uuid, duly.address_key(item ->> 'channel', item ->> 'to'));
      insert into duly.suppression (address_key, workspace_id, channel, category, reason, source)
      values (key, found_id, coalesce(item ->> 'channel', ''), category, 'do_not_contact',
              left(coalesce(item ->> 'source', 'sql'), 100))
      on conflict do nothing;
      added := found;
      listed := listed + added::integer;
      skipped := case when skip then
        duly.skip_waiting(key, found_id, coalesce(item ->> 'channel', ''), category, 'do_not_contact',
                          'put on the do-not-contact list') else 0 end;
    end if;
    return next;
  end loop;
  if listed > 0 then
    perform duly.audit_append(duly.caller(), 'suppression_added', nullif(found_id, 0), null,
                              jsonb_build_object('reason', 'do_not_contact', 'count', listed));
  end if;
end $$;

-- Makes a workspace known, or changes its settings. Returns its id. Footers and their categories come together.
drop function duly.register_workspace(text, interval);
create function duly.register_workspace(
  name text, duplicate_window interval default null, footers jsonb default null, footer_categories text[] default null,
  double_opt_in boolean default false
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
  double_opt_in := coalesce(double_opt_in, false);
  select w.id into found_id from duly.workspace w
  where w.name = register_workspace.name
    and w.duplicate_window is not distinct from register_workspace.duplicate_window
    and w.footers is not distinct from register_workspace.footers
    and w.footer_categories is not distinct from register_workspace.footer_categories
    and w.double_opt_in = register_workspace.double_opt_in;
  if found_id is null then
    insert into duly.workspace as w (name, duplicate_window, footers, footer_categories, double_opt_in)
    values (register_workspace.name, register_workspace.duplicate_window, register_workspace.footers,
            register_workspace.footer_categories, register_workspace.double_opt_in)
    on conflict on constraint workspace_name_key do update
    set duplicate_window = excluded.duplicate_window, footers = excluded.footers,
        footer_categories = excluded.footer_categories, double_opt_in = excluded.double_opt_in
    returning w.id into found_id;
  end if;
  return found_id;
end $$;

revoke all on all functions in schema duly from public;
grant execute on function
  duly.put_contact(text, text, text, text, text, text, integer, jsonb, jsonb), duly.put_contacts(text, jsonb),
  duly.remove_address(text, text, text), duly.record_consents(text, jsonb),
  duly.record_consent(text, text, text, text, text, text, text, jsonb, timestamptz), duly.do_not_contact_batch(text, jsonb, boolean)
  to duly_producer, duly_daemon;
grant execute on function
  duly.register_workspace(text, interval, jsonb, text[], boolean),
  duly.consent_recorded(integer, uuid, text, text, text, text, text, text, jsonb, text, timestamptz)
  to duly_daemon;
