-- Spreading: where what was planned has been placed, and whose turn it is to place what an account carries.

alter table duly.planned add column placed_at timestamptz; -- the time that spreading has given it

-- One daemon at a time places an account's messages, with this token until then. What it writes it writes under its
-- token only. `unfinished`: it has begun and did not come to the end; whoever comes next does it again.
create table duly.spreading (
  account text primary key,
  token uuid not null,
  until timestamptz not null,
  unfinished boolean not null default true,
  begun_at timestamptz not null default now()
) with (fillfactor = 50);

-- Whether spreading may move a delivery: queued, never tried, not put off by a rule, not moved by a person; and where it
-- has been placed, not due yet. A campaign that gives no tolerance is held by its throttle alone.
create function duly.may_be_spread(delivery duly.delivery_row, planned duly.planned) returns boolean
language sql stable parallel safe
as $$
  select delivery.state = 'queued' and delivery.attempts = 0 and delivery.planned_for is null
    and delivery.due_at = coalesce(planned.placed_at, planned.wished_at)
    and (planned.spread_at is null or delivery.due_at > now())
    and (planned.source <> 'campaign' or planned.earliest < planned.latest)
$$;

-- What may be spread in some lanes: each delivery with all that counts for its place. `place_length`: of how many
-- characters of a number its place is told, where the contact's zone is not known; 0 where no rule asks for it.
create function duly.spreadable(workspaces integer[], channels text[], place_length integer)
returns table (
  workspace_id integer, channel text, priority smallint, category text, time_zone text, place text, segments smallint,
  wished_at timestamptz, earliest timestamptz, latest timestamptz, expires_at timestamptz,
  id uuid, "to" text, due_at timestamptz, spread boolean)
language sql stable
as $$
  select d.workspace_id, d.channel::text, d.priority, m.category, c.time_zone,
         case when place_length > 0 then left(d."to", place_length) end, d.segments, p.wished_at,
         coalesce(p.earliest, p.wished_at), coalesce(p.latest, p.wished_at), d.expires_at,
         d.id, d."to", d.due_at, p.spread_at is not null
  from unnest(workspaces, channels) as lane (workspace_id, channel)
  join duly.delivery_row d
    on d.workspace_id = lane.workspace_id and d.channel = lane.channel::duly.channel and d.state = 'queued'
  join duly.planned p on p.delivery_id = d.id and p.workspace_id = d.workspace_id
  join duly.message m on m.id = d.message_id and m.workspace_id = d.workspace_id
  left join duly.contact c on c.id = p.contact_id and c.workspace_id = p.workspace_id
  where duly.may_be_spread(d, p) and d.due_at < 'infinity'
$$;

revoke all on all functions in schema duly from public;
grant execute on function
  duly.may_be_spread(duly.delivery_row, duly.planned), duly.spreadable(integer[], text[], integer) to duly_daemon;
grant select, insert, update on duly.spreading to duly_daemon;
