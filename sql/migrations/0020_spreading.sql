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

revoke all on all functions in schema duly from public;
grant execute on function duly.may_be_spread(duly.delivery_row, duly.planned) to duly_daemon;
grant select, insert, update on duly.spreading to duly_daemon;
