-- What was wished for a time, and where it was placed: messages by slot, lane and priority, and the segments of
-- what is placed. $1 a workspace's name, null for all; $2 from, $3 until which wished time (exclusive); $4 seconds of a slot.
with p as (
  select w.name as workspace, d.channel::text as channel, d.priority, d.segments, p.wished_at,
         coalesce(p.placed_at, d.due_at) as placed_at, make_interval(secs => $4::float8) as slot, d.state
  from duly.workspace w
  join duly.planned p on p.workspace_id = w.id and p.delivery_id is not null
                         and p.wished_at >= $2::timestamptz and p.wished_at < $3::timestamptz
  join duly.delivery_row d on d.id = p.delivery_id and d.workspace_id = p.workspace_id
  where ($1::text is null or w.name = $1) and d.state not in ('skipped', 'canceled', 'expired')
    and coalesce(p.placed_at, d.due_at) < 'infinity'
), counted as (
  select date_bin(slot, wished_at, 'epoch') as slot, workspace, channel, priority, count(*) as wished, 0 as placed, 0 as gone,
         0 as segments
  from p group by 1, 2, 3, 4
  union all
  select date_bin(slot, placed_at, 'epoch'), workspace, channel, priority, 0, count(*),
         count(*) filter (where state not in ('queued', 'leased', 'sending')), sum(segments)
  from p group by 1, 2, 3, 4
)
select slot, workspace, channel, priority, sum(wished)::bigint as wished, sum(placed)::bigint as placed,
       sum(gone)::bigint as gone, sum(segments)::bigint as segments
from counted group by 1, 2, 3, 4 order by 1, 2, 3, 4
