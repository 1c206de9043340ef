-- Every lane that has queued deliveries, with the milliseconds until its first is due (negative: overdue).
-- A loose scan: one index probe a lane, however long the lanes are.
with recursive lane as (
  (select workspace_id, channel, priority, due_at from duly.delivery_row
   where state = 'queued'
   order by workspace_id, channel, priority, due_at limit 1)
  union all
  select following.* from lane cross join lateral (
    select d.workspace_id, d.channel, d.priority, d.due_at from duly.delivery_row d
    where d.state = 'queued'
      and (d.workspace_id, d.channel, d.priority) > (lane.workspace_id, lane.channel, lane.priority)
    order by d.workspace_id, d.channel, d.priority, d.due_at limit 1
  ) following
)
select workspace_id, channel::text as channel, priority,
       extract(epoch from due_at - clock_timestamp())::float8 as due_in_seconds
from lane
