-- What is under way, a row per workspace and state: how many, how many of them ask for something now
-- (queued: due; uncertain: a person must decide), and for how many seconds the oldest has been due. Only the partial indexes are read: queued rows lane by lane (a loose
-- scan finds the lanes, see lanes.sql), then what daemons hold and platforms have for later, then what is uncertain.
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
), queued as (
  select lane.workspace_id, sum(n.total)::bigint as total, sum(n.due)::bigint as due, min(lane.due_at) as first_due
  from lane cross join lateral (
    select count(*) as total, count(*) filter (where q.due_at <= now()) as due
    from duly.delivery_row q
    where q.state = 'queued' and q.workspace_id = lane.workspace_id
      and q.channel = lane.channel and q.priority = lane.priority
  ) n
  group by lane.workspace_id
)
select workspace_id, 'queued' as state, total, due as now,
       nullif(greatest(extract(epoch from now() - first_due), 0), 0)::float8 as overdue_seconds
from queued
union all
select workspace_id, 'sending', count(*), 0, null from duly.delivery_row
where node_id is not null and state in ('leased', 'sending') group by workspace_id
union all
select workspace_id, 'handed_over', count(*), 0, null from duly.handed_over
where ended_at is null and provider_id is not null group by workspace_id
union all
select workspace_id, 'uncertain', count(*), count(*) filter (where ask_at is null), null from duly.delivery_row
where state = 'uncertain' group by workspace_id
