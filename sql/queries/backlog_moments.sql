-- In which minutes of the next eight days deliveries become due, and how many. Reads nothing but the index of
-- the queued, lane by lane (a loose scan finds the lanes, see lanes.sql), and of each lane only its future.
with recursive lane as (
  (select workspace_id, channel, priority from duly.delivery_row
   where state = 'queued'
   order by workspace_id, channel, priority limit 1)
  union all
  select following.* from lane cross join lateral (
    select d.workspace_id, d.channel, d.priority from duly.delivery_row d
    where d.state = 'queued'
      and (d.workspace_id, d.channel, d.priority) > (lane.workspace_id, lane.channel, lane.priority)
    order by d.workspace_id, d.channel, d.priority limit 1
  ) following
)
select date_bin('1 minute', q.due_at, 'epoch') as minute, count(*) as messages
from lane cross join lateral (
  select d.due_at from duly.delivery_row d
  where d.state = 'queued' and d.workspace_id = lane.workspace_id
    and d.channel = lane.channel and d.priority = lane.priority
    and d.due_at > now() and d.due_at < now() + interval '8 days'
) q
group by 1
order by 1
