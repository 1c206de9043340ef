-- Limits that hold however many daemons run: what has been given away of each limit's time, and of each minute.

-- A rate is a line of time: a segment takes 1/rate seconds of it, and no two have the same. Daemons are given
-- pieces of this line, one after the other; see daemon/queue/pace.py for why no window can see too much.
create table duly.pace (
  key text primary key,
  rate double precision not null,     -- segments a second, as of the last piece
  taken_until timestamptz not null    -- the end of the last piece
) with (fillfactor = 50);

-- What went of a number a minute, in 64ths of its window, the newest first.
create table duly.quota (
  key text primary key,
  slot_seconds double precision not null,
  slot bigint not null,               -- the number of the newest, counted from the epoch
  used integer[] not null
) with (fillfactor = 50);

-- Gives each key the next piece of its line, all in one moment. A line in arrears of now goes on from now plus
-- `settle`, so that a piece is not over before its answer arrives. A piece is as long as `wanted`, but no longer
-- than `slice`, or than what may be used at once (`reach`: how long before its time a piece may be used), and at
-- least `needed` or a multiple of it, as a part would be of no use. Nothing is given that could not be used within
-- `horizon`. All in seconds.
-- `moment`: for tests. Returns the piece (empty: from = until), and where the line has got to; no row for a key
-- that was removed at that moment: ask again.
create function duly.take_pace(
  keys text[], rates double precision[], reach double precision[], needed double precision[],
  wanted double precision[], slice double precision, settle double precision, horizon double precision,
  moment double precision default null
) returns table (
  key text, given_from double precision, given_until double precision, taken_until double precision,
  at double precision
)
language plpgsql set search_path = duly, pg_temp
as $$
#variable_conflict use_column
declare
  at_ double precision;
begin
  -- Whoever uses a piece marks its deliveries afterwards, and that commit makes this one durable too.
  perform set_config('synchronous_commit', 'off', true);
  insert into pace (key, rate, taken_until)
  select a.key, a.rate, '-infinity' from unnest(keys, rates) a (key, rate) order by a.key
  on conflict do nothing;
  perform from pace p where p.key = any (keys) order by p.key for update;
  at_ := coalesce(moment, extract(epoch from clock_timestamp()));
  return query
  with line as (
    select a.*, b.before, greatest(at_ + settle, b.before) as starts
    from unnest(keys, rates, reach, needed, wanted) a (key, rate, reach, needed, wanted)
    join pace p on p.key = a.key
    cross join lateral (
      -- What was used under another rate stays used: so many segments, at the new one.
      select case when p.taken_until < to_timestamp(at_) then at_
             else at_ + (extract(epoch from p.taken_until)::double precision - at_) * (p.rate / a.rate) end as before
    ) b
  ), piece as (
    select l.*, case when l.starts + l.needed - l.reach > at_ + horizon then 0
                else l.needed * greatest(1, floor(
                  least(l.wanted, greatest(slice, at_ + l.reach - l.starts)) / l.needed + 1e-6)) end as seconds
    from line l
  )
  update pace p
  set rate = i.rate,
      taken_until = to_timestamp(case when i.seconds > 0 then i.starts + i.seconds else i.before end)
  from piece i
  where p.key = i.key
  returning p.key, i.starts, i.starts + i.seconds,
            case when i.seconds > 0 then i.starts + i.seconds else i.before end, at_;
end $$;

-- Gives each key segments to use within the present slot: at least `needed`, at most `wanted`, none where the
-- window has no room for that. A slot counts until all of it has left the window. `back_slot`, `back`: what
-- was given for an earlier slot and not used. Returns also when the slot ends, what is used in all, and when the
-- next of it leaves.
create function duly.take_quota(
  keys text[], most double precision[], slot_seconds double precision[], needed integer[], wanted integer[],
  back_slot bigint[], back integer[], moment double precision default null
) returns table (
  key text, given integer, slot bigint, ends double precision, used bigint, again double precision,
  at double precision
)
language plpgsql set search_path = duly, pg_temp
as $$
#variable_conflict use_column
declare
  at_ double precision;
begin
  perform set_config('synchronous_commit', 'off', true);
  insert into quota (key, slot_seconds, slot, used)
  select a.key, a.seconds, 0, '{}' from unnest(keys, slot_seconds) a (key, seconds) order by a.key
  on conflict do nothing;
  perform from quota q where q.key = any (keys) order by q.key for update;
  at_ := coalesce(moment, extract(epoch from clock_timestamp()));
  return query
  with asked as (
    select a.*, case when q.slot_seconds = a.seconds then greatest(q.slot, floor(at_ / a.seconds)::bigint)
                else floor(at_ / a.seconds)::bigint end as slot,
           q.slot as old_slot, q.used as old, q.slot_seconds = a.seconds as same
    from unnest(keys, most, slot_seconds, needed, wanted, back_slot, back)
           a (key, most, seconds, needed, wanted, back_slot, back)
    join quota q on q.key = a.key
  ), moved as (
    -- A window of another length counts all that the old one held as of now.
    select a.*, case when same then (array_fill(0, array[least(a.slot - old_slot, 65)::integer]) || old)[1:65]
                else array[coalesce((select sum(u)::integer from unnest(old) u), 0)] end as slots
    from asked a
  ), counted as (
    select m.*, c.now_used, coalesce(c.total, 0) as total, c.oldest
    from moved m cross join lateral (
      select array_agg(n order by o) as now_used, sum(n) as total, max(o) filter (where n > 0) as oldest
      from (select o, u - case when m.same and o = m.slot - m.back_slot + 1 then least(m.back, u) else 0 end as n
            from unnest(m.slots) with ordinality x (u, o)) y
    ) c
  ), given as (
    select c.*, case when total + least(c.needed, c.most) > c.most then 0
                else greatest(c.needed, least(c.wanted, floor(c.most - total)::integer)) end as gets
    from counted c
  )
  update quota q
  set slot_seconds = g.seconds, slot = g.slot,
      used = array[coalesce(g.now_used[1], 0) + g.gets] || coalesce(g.now_used[2:65], '{}')
  from given g
  where q.key = g.key
  returning q.key, g.gets, g.slot, (g.slot + 1) * g.seconds, g.total::bigint + g.gets,
            (g.slot - coalesce(g.oldest, 1) + 2 + 64) * g.seconds, at_;
end $$;

revoke all on function
  duly.take_pace(
    text[], double precision[], double precision[], double precision[], double precision[], double precision,
    double precision, double precision, double precision),
  duly.take_quota(
    text[], double precision[], double precision[], integer[], integer[], bigint[], integer[], double precision)
  from public;
grant execute on function
  duly.take_pace(
    text[], double precision[], double precision[], double precision[], double precision[], double precision,
    double precision, double precision, double precision),
  duly.take_quota(
    text[], double precision[], double precision[], integer[], integer[], bigint[], integer[], double precision)
  to duly_daemon;
grant select, insert, update, delete on duly.pace, duly.quota to duly_daemon;
