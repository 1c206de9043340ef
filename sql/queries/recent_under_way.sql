-- Deliveries of a state that has an index of its own; the queued ones by when they are due, the others newest
-- first. $1 workspace or null, $2 queued, sending (which is leased, too), uncertain or failed (and
-- not dismissed), $3 how many.
-- A branch that was not asked for costs nothing: its test of $2 comes before its scan.
with recursive lane as (
  (select workspace_id, channel, priority from duly.delivery_row
   where state = 'queued' and $2::text = 'queued'
   order by workspace_id, channel, priority limit 1)
  union all
  select following.* from lane cross join lateral (
    select d.workspace_id, d.channel, d.priority from duly.delivery_row d
    where d.state = 'queued'
      and (d.workspace_id, d.channel, d.priority) > (lane.workspace_id, lane.channel, lane.priority)
    order by d.workspace_id, d.channel, d.priority limit 1
  ) following
), found as (
  (select q.id, q.due_at as place from lane cross join lateral (
     select d.id, d.due_at from duly.delivery_row d
     where d.state = 'queued' and d.workspace_id = lane.workspace_id
       and d.channel = lane.channel and d.priority = lane.priority
     order by d.due_at, d.id limit $3
   ) q
   where $1::int is null or lane.workspace_id = $1
   order by q.due_at limit $3)
  union all
  (select id, null from duly.delivery_row
   where state in ('leased', 'sending') and $2 = 'sending' and ($1::int is null or workspace_id = $1)
   order by id desc limit $3)
  union all
  (select id, null from duly.delivery_row
   where state = 'uncertain' and $2 = 'uncertain' and ($1::int is null or workspace_id = $1)
   order by state_at desc limit $3)
  union all
  (select id, null from duly.delivery_row
   where state = 'failed' and dismissed_at is null and $2 = 'failed' and ($1::int is null or workspace_id = $1)
   order by state_at desc limit $3)
)
select d.id, w.name as workspace, d.channel::text as channel, duly.shown(d."to", d.sealed) as "to", d.state::text as state, d.reason,
       d.due_at, d.created_at, d.state_at
from found
join duly.delivery_row d on d.id = found.id
join duly.workspace w on w.id = d.workspace_id
order by found.place, d.state_at desc
