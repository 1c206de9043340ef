-- Every key that starts with an id ends with the workspace: looked up by id alone, and still ready to be
-- distributed by workspace (Citus wants the distribution column in each unique key). There are no foreign
-- keys on the hot tables: only the functions of 0003 insert into them, and a check per row costs as much
-- as the row.

create table duly.workspace (
  id integer generated always as identity primary key,
  name text not null unique check (name ~ '^[A-Za-z0-9._-]{1,100}$'),
  duplicate_window interval,
  created_at timestamptz not null default now()
);

-- Which login may write to and read which workspace.
create table duly.producer (
  login name not null,
  workspace_id integer not null references duly.workspace,
  primary key (login, workspace_id)
);

-- The accounts that daemons have been configured with: names, never credentials.
create table duly.account (
  name text primary key,
  platform text not null,
  seen_at timestamptz not null default now()
);

-- One row per daemon process. It is alive until alive_until by this database's clock, and with it every
-- lease it holds: one heartbeat renews them all. A dead node's id never comes back.
create table duly.node (
  id integer generated always as identity primary key,
  name text not null,
  version text not null,
  started_at timestamptz not null default now(),
  alive_until timestamptz not null
);

-- Content and intent. A message that `enqueue` made has the id of its one delivery.
create table duly.message (
  id uuid not null,
  workspace_id integer not null,
  body text not null,
  category text not null,
  template text,
  variables jsonb not null default '{}',
  metadata jsonb not null default '{}',
  idempotency_key text,
  content_hash bytea,
  created_at timestamptz not null default now(),
  primary key (id, workspace_id)
);

create unique index message_idempotency_key on duly.message (workspace_id, idempotency_key)
  where idempotency_key is not null;

-- The row that is leased, sent and tracked. It is updated four or five times in a few seconds, so it has
-- few indexes, and those that serve one state hold only that state.
create table duly.delivery_row (
  id uuid not null,
  workspace_id integer not null,
  message_id uuid not null,
  channel duly.channel not null,
  priority smallint not null,
  state duly.state not null default 'queued',
  attempts smallint not null default 0,
  segments smallint not null default 1,
  due_at timestamptz not null,
  expires_at timestamptz,
  lease_token bigint,
  node_id integer,
  "to" text not null,
  account text,
  provider_id text,
  reason text,
  detail text,
  created_at timestamptz not null default now(),
  state_at timestamptz not null default now(),
  sent_at timestamptz,
  delivered_at timestamptz,
  primary key (id, workspace_id)
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000);

-- What the fetcher walks: lanes first (a loose scan), then one lane's due rows in order.
create index delivery_row_queued on duly.delivery_row (workspace_id, channel, priority, due_at, id)
  where state = 'queued';
-- What a daemon holds: the rescuer looks here for the rows of dead nodes.
create index delivery_row_held on duly.delivery_row (node_id) where state in ('leased', 'sending');
-- What waits for the platform's word.
create index delivery_row_uncertain on duly.delivery_row (state_at) where state = 'uncertain';
-- What must be given up in time even if its lane does not move.
create index delivery_row_expiring on duly.delivery_row (expires_at)
  where state = 'queued' and expires_at is not null;
-- The dead letters.
create index delivery_row_failed on duly.delivery_row (state_at) where state = 'failed';

-- One call to a platform. A lease makes at most one call, so its token names the attempt; `number` counts
-- only those that may have reached the platform.
create table duly.attempt (
  delivery_id uuid not null,
  lease_token bigint not null,
  workspace_id integer not null,
  number smallint not null,
  account text not null,
  address_hash bigint not null,
  outcome text not null check (outcome in ('accepted', 'rejected', 'unknown')),
  reason text,
  provider_id text,
  http_status smallint,
  code text,
  detail text,
  began_at timestamptz not null,
  took_ms integer not null,
  primary key (delivery_id, lease_token, workspace_id)
);

-- Whom did we write to last under this address: finds the workspace that an inbound message answers.
create index attempt_address on duly.attempt (address_hash, began_at);

-- Every status a platform posted, whether it moved the delivery or not.
create table duly.callback (
  id bigint generated always as identity,
  workspace_id integer not null,
  delivery_id uuid not null,
  attempt smallint,
  account text not null,
  provider_id text not null,
  provider_status text not null,
  code text,
  moved boolean not null,
  received_at timestamptz not null default now(),
  primary key (delivery_id, id, workspace_id)
);

create table duly.conversation (
  id uuid not null,
  workspace_id integer not null,
  channel duly.channel not null,
  address text not null,
  started_at timestamptz not null default now(),
  last_inbound_at timestamptz not null default now(),
  primary key (id, workspace_id),
  unique (workspace_id, channel, address)
);

-- Messages from people. workspace_id 0 where we never wrote to them, so nobody can be said to own it.
create table duly.inbound (
  id uuid not null,
  workspace_id integer not null,
  conversation_id uuid not null,
  account text not null,
  provider_id text not null,
  channel duly.channel not null,
  from_address text not null,
  to_address text not null,
  body text not null,
  media_urls text[] not null default '{}',
  opt_out_type text,
  received_at timestamptz not null default now(),
  primary key (id, workspace_id)
);

create unique index inbound_provider_id on duly.inbound (account, provider_id, workspace_id);
create index inbound_conversation on duly.inbound (conversation_id, received_at);

-- Equal content to one address, remembered only for workspaces that refuse it within a window.
create table duly.recent_content (
  workspace_id integer not null,
  digest bytea not null,
  delivery_id uuid not null,
  at timestamptz not null,
  primary key (workspace_id, digest)
);

create index recent_content_at on duly.recent_content (at);
