-- What people make of messages: links, answers, whether a message was helpful; and what is learned from that.

-- Under which URL people's links are: the daemons' [web] link_url, else public_url.
create table duly.link_base (
  one boolean primary key default true check (one),
  url text not null check (url ~ '^https?://[!-~]+[^/]$' and char_length(url) <= 500),
  at timestamptz not null default now()
);

-- The links in texts. With a target it leads there and the click is counted; without one it asks whether the message was
-- helpful. What follows belongs to the delivery in whose metadata `links` names the token.
create table duly.link (
  token text not null check (token ~ '^[1-9A-HJ-NP-Za-km-z]{11}$'),
  workspace_id integer not null,
  target text check (target ~ '^https?://[!-~]+$' and char_length(target) <= 2000),
  sealed bytea,          -- the target, where the workspace seals
  delivery_id uuid,
  clicks integer not null default 0,
  expires_at timestamptz not null,
  primary key (token, workspace_id)
);
create index link_delivery on duly.link (delivery_id) where delivery_id is not null;
create index link_expires on duly.link (expires_at);

-- Deliveries that have asked for a short word (1 or 2) on whether they were helpful.
create table duly.feedback_request (
  delivery_id uuid not null,
  workspace_id integer not null,
  primary key (delivery_id, workspace_id)
);

-- What came of a delivery, each kind once. `preview`: a program opened the link, not a person.
create table duly.response (
  delivery_id uuid not null,
  kind text not null check (kind in ('reply', 'click', 'preview', 'opt_out')),
  workspace_id integer not null,
  times integer not null default 1,
  first_at timestamptz not null default now(),
  last_at timestamptz not null default now(),
  primary key (delivery_id, kind, workspace_id)
);

-- Whether a message was helpful: the last word of each delivery's recipient.
create table duly.feedback (
  delivery_id uuid not null,
  workspace_id integer not null,
  contact_id uuid,       -- null: nobody known, or erased
  style text not null default '',
  helpful boolean not null,
  via text not null check (via in ('reply', 'link', 'api')),
  at timestamptz not null default now(),
  primary key (delivery_id, workspace_id)
);
create index feedback_contact on duly.feedback (contact_id) where contact_id is not null;
create index feedback_workspace on duly.feedback (workspace_id, at) include (style, helpful);

-- When people are there, by the hour of the week (Monday's first is 0) on their own wall clock: what they did by
-- themselves, messages that went in that hour, and those of them that were answered. Weights halve in eight weeks and are
-- as of `at`. The contact of all zeros is the workspace's people together.
create table duly.habit (
  contact_id uuid not null,
  hour smallint not null check (hour between 0 and 167),
  workspace_id integer not null,
  active real not null default 0,
  sent real not null default 0,
  answered real not null default 0,
  at timestamptz not null default now(),
  primary key (contact_id, hour, workspace_id)
);

-- How far the learning of a workspace has come: of planned messages by when they were wished for, of progress by its number.
-- Whoever learns holds the row.
create table duly.habit_run (
  workspace_id integer primary key,
  wished_at timestamptz not null default '-infinity',
  source_id uuid not null default '00000000-0000-0000-0000-000000000000', -- of those wished for at the same moment
  contact_id uuid not null default '00000000-0000-0000-0000-000000000000',
  progress_id bigint not null default 0,
  moved_at timestamptz not null default now()
);
create index planned_wished on duly.planned (workspace_id, wished_at, source_id, contact_id) where delivery_id is not null;
create index progress_workspace on duly.progress (workspace_id, id);

-- A link's token: eleven letters and digits that cannot be taken for each other, 64 bits of them. From a key the same for
-- the same link, and not to be guessed without the database's own secret.
create function duly.link_token(workspace integer, target text, key text) returns text
language sql volatile
as $$
  select string_agg(substr('123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz',
           1 + (get_byte(b.bytes, 2 * n) * 256 + get_byte(b.bytes, 2 * n + 1)) % 58, 1), '' order by n)
  from (
    select case when key is null then sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()))
                else duly.keyed(convert_to(jsonb_build_array('link', workspace, target, key)::text, 'UTF8')) end as bytes
    offset 0) b, generate_series(0, 10) n
$$;

-- A link for a text: its URL, and the metadata by which the message is bound to it. Without a target it asks whether the
-- message was helpful. The same `key` gives the same link, for who queues with an idempotency key. Raises 22023; 55000
-- where no daemon has said under which URL links are.
create function duly.make_link(
  workspace text, target text default null, key text default null, days integer default 90,
  out url text, out token text, out metadata jsonb
)
language plpgsql security definer set search_path = duly, pg_temp
as $$
#variable_conflict use_variable
declare
  found_workspace duly.workspace := duly.writable_workspace(workspace);
  base text := (select b.url from duly.link_base b);
begin
  if target is not null and (target !~ '^https?://[!-~]+$' or char_length(target) > 2000) then
    raise exception 'target: must be an http or https URL of at most 2000 characters, with what is not ASCII percent-encoded'
      using errcode = '22023';
  elsif target is not null and found_workspace.seal then
    raise exception 'target: this workspace seals what it stores; make the link over HTTP, where the daemon seals it'
      using errcode = '22023';
  elsif char_length(key) not between 1 and 255 then
    raise exception 'key: must have 1 to 255 characters' using errcode = '22023';
  elsif days is null or days not between 1 and 3660 then
    raise exception 'days: must be a whole number from 1 to 3660' using errcode = '22023';
  elsif base is null then
    raise exception 'links have no URL yet: set web.public_url or web.link_url in the TOML and start or reload a daemon'
      using errcode = '55000';
  end if;
  token := duly.link_token(found_workspace.id, target, key);
  insert into duly.link as l (token, workspace_id, target, expires_at)
  values (token, found_workspace.id, target, now() + make_interval(days => days))
  on conflict on constraint link_pkey do update set expires_at = greatest(l.expires_at, excluded.expires_at);
  url := base || case when target is null then '/f/' else '/l/' end || token;
  metadata := jsonb_build_object('links', jsonb_build_array(token));
end $$;

-- Binds a new message's links to its delivery, which has its id, and notes that it asks for a word.
create function duly.bind_links() returns trigger
language plpgsql security definer set search_path = duly, pg_temp
as $$
begin
  if jsonb_typeof(new.metadata -> 'links') = 'array' then
    update duly.link l set delivery_id = new.id
    where l.token in (select t.token from jsonb_array_elements_text(new.metadata -> 'links') t (token) limit 20)
      and l.workspace_id = new.workspace_id and l.delivery_id is null;
  end if;
  if new.metadata -> 'feedback' = 'true' then
    insert into duly.feedback_request (delivery_id, workspace_id) values (new.id, new.workspace_id) on conflict do nothing;
  end if;
  return null;
end $$;
create trigger bind_links after insert on duly.message
  for each row when (new.metadata ?| '{links,feedback}'::text[]) execute function duly.bind_links();

-- With a message's text its links go: they could tell what it was about.
create function duly.forget_links() returns trigger
language plpgsql security definer set search_path = duly, pg_temp
as $$
begin
  delete from duly.link l where l.delivery_id = new.id and l.workspace_id = new.workspace_id;
  return null;
end $$;
create trigger forget_links after update on duly.message
  for each row when (new.body = '' and new.sealed is null and (old.body <> '' or old.sealed is not null))
  execute function duly.forget_links();

-- With a delivery goes what came of it.
create function duly.forget_responses() returns trigger
language plpgsql security definer set search_path = duly, pg_temp
as $$
begin
  delete from duly.link l using gone g where l.delivery_id = g.id and l.workspace_id = g.workspace_id;
  delete from duly.feedback_request r using gone g where r.delivery_id = g.id and r.workspace_id = g.workspace_id;
  delete from duly.response r using gone g where r.delivery_id = g.id and r.workspace_id = g.workspace_id;
  delete from duly.feedback f using gone g where f.delivery_id = g.id and f.workspace_id = g.workspace_id;
  return null;
end $$;
create trigger forget_responses after delete on duly.delivery_row
  referencing old table as gone for each statement execute function duly.forget_responses();

-- Who is erased has no habits; a word of theirs stays as a count, and is nobody's.
create function duly.forget_habits() returns trigger
language plpgsql security definer set search_path = duly, pg_temp
as $$
begin
  delete from duly.habit h where h.contact_id = old.id and h.workspace_id = old.workspace_id;
  update duly.feedback f set contact_id = null where f.contact_id = old.id and f.workspace_id = old.workspace_id;
  return null;
end $$;
create trigger forget_habits after delete on duly.contact for each row execute function duly.forget_habits();

-- Removes the next links that have expired. Returns how many.
create function duly.forget_expired_links(how_many integer) returns bigint
language plpgsql security definer set search_path = duly, pg_temp
as $$
declare
  done bigint;
begin
  delete from duly.link l where (l.token, l.workspace_id) in (
    select o.token, o.workspace_id from duly.link o where o.expires_at < now()
    order by o.expires_at limit how_many for update skip locked);
  get diagnostics done = row_count;
  return done;
end $$;

-- Which delivery an answer from this address is to: the last that went there within `within`, but for confirmations of
-- keywords. workspace 0: any workspace's.
create function duly.last_sent(
  workspace integer, address_key uuid, channel text, within interval, out delivery_id uuid, out workspace_id integer
)
language sql stable
as $$
  select d.id, d.workspace_id
  from duly.attempt a
  join duly.delivery_row d on d.id = a.delivery_id and d.workspace_id = a.workspace_id
  join duly.message m on m.id = d.message_id and m.workspace_id = d.workspace_id
  where a.address_key = last_sent.address_key and a.began_at > now() - within
    and last_sent.workspace in (a.workspace_id, 0) and d.channel = last_sent.channel::duly.channel
    and a.outcome <> 'rejected' and m.category <> 'opt_out_reply'
  order by a.began_at desc limit 1
$$;

-- The one place that notes what came of a delivery.
create function duly.responded(workspace integer, delivery uuid, kind text) returns void
language sql
as $$
  insert into duly.response as r (delivery_id, kind, workspace_id) values (delivery, kind, workspace)
  on conflict (delivery_id, kind, workspace_id) do update set times = r.times + 1, last_at = now()
$$;

-- The one place that notes whether a delivery was helpful: the last word counts. False: there is no such delivery.
create function duly.called_helpful(workspace integer, delivery uuid, helpful boolean, via text) returns boolean
language sql
as $$
  insert into duly.feedback as f (delivery_id, workspace_id, contact_id, style, helpful, via)
  select d.id, d.workspace_id, coalesce(p.contact_id, (
           select a.contact_id from duly.address a
           where a.address_key = d.address_key and a.workspace_id = d.workspace_id and a.channel = d.channel::text)),
         coalesce(p.style, ''), called_helpful.helpful, called_helpful.via
  from duly.delivery_row d
  left join duly.planned p on p.delivery_id = d.id and p.workspace_id = d.workspace_id
  where d.id = delivery and d.workspace_id = workspace
  limit 1
  on conflict (delivery_id, workspace_id) do update set helpful = excluded.helpful, via = excluded.via, at = now()
  returning true
$$;

-- Notes a person's answer: to which delivery, whether it was helpful (null: it does not say), and whether it only says so
-- to who has asked (`short`: a bare number). Returns the delivery; null where it answers none.
create function duly.answered_by(
  workspace integer, channel text, "from" text, helpful boolean, short boolean, within interval
) returns uuid
language plpgsql security definer set search_path = duly, pg_temp
as $$
declare
  last record;
begin
  select * into last from duly.last_sent(workspace, duly.address_key(channel, "from"), channel, within);
  if last.delivery_id is null then
    return null;
  end if;
  perform duly.responded(workspace, last.delivery_id, 'reply');
  if helpful is not null and (not short or exists (
       select from duly.feedback_request r where r.delivery_id = last.delivery_id and r.workspace_id = workspace)) then
    perform duly.called_helpful(workspace, last.delivery_id, helpful, 'reply');
  end if;
  return last.delivery_id;
end $$;

-- A no that follows a message is that message's, whoever brings it but for a file.
create function duly.note_opt_out() returns trigger
language plpgsql security definer set search_path = duly, pg_temp
as $$
declare
  last record;
begin
  select s.* into last
  from unnest(case when new.channel = '' then enum_range(null::duly.channel)::text[] else array[new.channel] end) c (channel),
       duly.last_sent(new.workspace_id, new.address_key, c.channel, interval '7 days') s
  where s.delivery_id is not null order by s.delivery_id desc limit 1;
  if last.delivery_id is not null then
    perform duly.responded(last.workspace_id, last.delivery_id, 'opt_out');
  end if;
  return null;
end $$;
create trigger note_opt_out after insert on duly.consent
  for each row when (new.state = 'withdrawn' and new.source <> 'csv') execute function duly.note_opt_out();

-- Says whether a delivery was helpful, as its recipient has told you. The last word counts. Raises 22023, and P0002 for a
-- delivery that is not this workspace's.
create function duly.give_feedback(workspace text, delivery uuid, helpful boolean) returns void
language plpgsql security definer set search_path = duly, pg_temp
as $$
declare
  found_workspace duly.workspace := duly.writable_workspace(workspace);
begin
  if helpful is null then
    raise exception 'helpful: must be true or false' using errcode = '22023';
  elsif duly.called_helpful(found_workspace.id, delivery, helpful, 'api') is null then
    raise exception 'delivery: there is no delivery % in this workspace', coalesce(delivery::text, 'null') using errcode = 'P0002';
  end if;
end $$;

-- Where a link leads, and the click with it: `kind` is click, preview, or null to count nothing. No row: no such link.
create function duly.follow_link(token text, kind text)
returns table (workspace_id integer, target text, sealed bytea)
language plpgsql security definer set search_path = duly, pg_temp
as $$
#variable_conflict use_column
declare
  link duly.link;
begin
  select l.* into link from duly.link l
  where l.token = follow_link.token and l.expires_at > now() and (l.target is not null or l.sealed is not null);
  if link.token is null then
    return;
  end if;
  if kind is not null and link.delivery_id is not null then
    perform duly.responded(link.workspace_id, link.delivery_id, kind);
  end if;
  if kind = 'click' then
    update duly.link l set clicks = l.clicks + 1 where l.token = link.token and l.workspace_id = link.workspace_id;
  end if;
  return query select link.workspace_id, link.target, link.sealed;
end $$;

-- What a feedback link says: null helpful only looks. True: it is known. A link whose message was never queued takes
-- nothing.
create function duly.feedback_by_link(token text, helpful boolean) returns boolean
language plpgsql security definer set search_path = duly, pg_temp
as $$
#variable_conflict use_column
declare
  link duly.link;
begin
  select l.* into link from duly.link l
  where l.token = feedback_by_link.token and l.expires_at > now() and l.target is null and l.sealed is null
    and l.delivery_id is not null;
  if link.token is null then
    return false;
  end if;
  return helpful is null
    or coalesce(duly.called_helpful(link.workspace_id, link.delivery_id, feedback_by_link.helpful, 'link'), false);
end $$;

-- The hour of the week that a clock in this zone shows; null without one.
create function duly.hour_of_week(at timestamptz, zone text) returns smallint
language sql stable
as $$
  select ((extract(isodow from w.wall) - 1) * 24 + extract(hour from w.wall))::smallint
  from (select at at time zone zone as wall) w
$$;

-- A weight of some time ago, now. It halves in eight weeks.
create function duly.faded(weight real, at timestamptz) returns real
language sql stable
as $$ select (weight * power(0.5::float8, greatest(0, extract(epoch from now() - at)) / 4838400.0))::real $$;

-- Learns from the next progress on goals and the next planned messages of a workspace, those whose time for an answer has
-- passed: a day and a half after they were wished for. Returns how much it has looked at; null where another daemon is at it.
-- People whose zone is not known teach nothing.
create function duly.learn_habits(workspace integer, how_many integer) returns integer
language plpgsql security definer set search_path = duly, pg_temp
as $$
declare
  run duly.habit_run;
  acts bigint[];
  trials uuid[];
  last record;
  looked integer;
begin
  insert into duly.habit_run (workspace_id, wished_at) values (workspace, now() - interval '112 days') on conflict do nothing;
  select * into run from duly.habit_run r where r.workspace_id = workspace for update skip locked;
  if not found then
    return null;
  end if;
  acts := array(
    select p.id from duly.progress p
    where p.workspace_id = workspace and p.id > run.progress_id and p.recorded_at < now() - interval '1 minute'
    order by p.id limit how_many);
  trials := array(
    select p.delivery_id from duly.planned p
    where p.workspace_id = workspace and p.delivery_id is not null
      and (p.wished_at, p.source_id, p.contact_id) > (run.wished_at, run.source_id, run.contact_id)
      and p.wished_at < now() - interval '36 hours'
    order by p.wished_at, p.source_id, p.contact_id limit how_many);
  looked := cardinality(acts) + cardinality(trials);
  if looked = 0 then
    return 0;
  end if;
  perform from duly.contact c -- who is being erased is waited for, and then not there
  where c.workspace_id = workspace and c.id in (
    select g.contact_id from duly.progress p join duly.goal g on g.id = p.goal_id and g.workspace_id = workspace
    where p.id = any (acts) and p.workspace_id = workspace
    union all
    select p.contact_id from duly.planned p where p.delivery_id = any (trials) and p.workspace_id = workspace)
  order by c.id for key share;
  with done as materialized ( -- what somebody does within one hour counts once
    select distinct g.contact_id, h.hour, date_trunc('hour', n.at) as within
    from duly.progress n
    join duly.goal g on g.id = n.goal_id and g.workspace_id = workspace
    join duly.contact c on c.id = g.contact_id and c.workspace_id = workspace
    join duly.time_zone z on z.name = c.time_zone
    cross join lateral (select duly.hour_of_week(n.at, z.name) as hour) h
    where n.id = any (acts) and n.workspace_id = workspace and h.hour is not null
      and n.at > now() - interval '112 days' and n.at < now() + interval '1 day'
  )
  insert into duly.habit as h (contact_id, hour, workspace_id, active)
  select coalesce(d.contact_id, '00000000-0000-0000-0000-000000000000'), d.hour, workspace, count(*) from done d
  group by grouping sets ((d.contact_id, d.hour), (d.hour))
  on conflict (contact_id, hour, workspace_id) do update
  set active = duly.faded(h.active, h.at) + excluded.active, sent = duly.faded(h.sent, h.at),
      answered = duly.faded(h.answered, h.at), at = now();
  with tried as materialized (
    select n.contact_id, h.hour, (f.delivery_id is not null or exists (
             select from duly.response r
             where r.delivery_id = n.delivery_id and r.workspace_id = workspace and r.kind in ('reply', 'click')
               and r.first_at < d.sent_at + interval '24 hours')) as answered
    from duly.planned n
    join duly.delivery_row d on d.id = n.delivery_id and d.workspace_id = workspace
    join duly.contact c on c.id = n.contact_id and c.workspace_id = workspace
    join duly.time_zone z on z.name = c.time_zone
    cross join lateral (select duly.hour_of_week(d.sent_at, z.name) as hour) h
    left join duly.feedback f on f.delivery_id = n.delivery_id and f.workspace_id = workspace
    where n.delivery_id = any (trials) and n.workspace_id = workspace and h.hour is not null
  )
  insert into duly.habit as h (contact_id, hour, workspace_id, sent, answered)
  select coalesce(t.contact_id, '00000000-0000-0000-0000-000000000000'), t.hour, workspace, count(*),
         count(*) filter (where t.answered)
  from tried t group by grouping sets ((t.contact_id, t.hour), (t.hour))
  on conflict (contact_id, hour, workspace_id) do update
  set active = duly.faded(h.active, h.at), sent = duly.faded(h.sent, h.at) + excluded.sent,
      answered = duly.faded(h.answered, h.at) + excluded.answered, at = now();
  if cardinality(trials) > 0 then
    select p.wished_at, p.source_id, p.contact_id into last from duly.planned p
    where p.delivery_id = any (trials) and p.workspace_id = workspace
    order by p.wished_at desc, p.source_id desc, p.contact_id desc limit 1;
    update duly.habit_run r set wished_at = last.wished_at, source_id = last.source_id, contact_id = last.contact_id
    where r.workspace_id = workspace;
  end if;
  update duly.habit_run r set progress_id = coalesce(acts[cardinality(acts)], r.progress_id), moved_at = now()
  where r.workspace_id = workspace;
  return looked;
end $$;

-- Says under which URL people's links are.
create function duly.register_link_base(url text) returns void
language sql security definer set search_path = duly, pg_temp
as $$
  insert into duly.link_base as b (url) values (register_link_base.url)
  on conflict (one) do update set url = excluded.url, at = now() where b.url <> excluded.url
$$;

select duly.protect('{link,feedback_request,response,feedback,habit,habit_run}');

revoke all on all functions in schema duly from public;
grant execute on function
  duly.make_link(text, text, text, integer), duly.give_feedback(text, uuid, boolean)
  to duly_producer, duly_daemon;
grant execute on function
  duly.forget_expired_links(integer), duly.answered_by(integer, text, text, boolean, boolean, interval),
  duly.follow_link(text, text), duly.feedback_by_link(text, boolean), duly.learn_habits(integer, integer),
  duly.register_link_base(text), duly.hour_of_week(timestamptz, text),
  duly.faded(real, timestamptz)
  to duly_daemon;
grant select on duly.link, duly.link_base, duly.feedback_request, duly.response, duly.feedback, duly.habit, duly.habit_run
  to duly_daemon;
grant insert on duly.link to duly_daemon;
