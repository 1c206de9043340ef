-- The newest deliveries, newest first. $1 workspace or null, $2 states or null, $3 how many at most.
-- It looks at no more than the newest $4, however rare what is asked for.
select d.id, w.name as workspace, d.channel::text as channel, duly.shown(d."to", d.sealed) as "to", d.state::text as state, d.reason,
       d.due_at, d.created_at, d.state_at
from (select * from duly.delivery_row order by id desc limit $4) d
join duly.workspace w on w.id = d.workspace_id
where ($1::int is null or d.workspace_id = $1)
  and ($2::text[] is null or d.state::text = any ($2))
order by d.id desc
limit $3
