-- The deliveries to one address, newest first. $1 address, $2 workspace or null, $3 states or null, $4 how many.
-- Every one that was ever tried is found by its attempts; one that never was, only among the newest $5.
with found as (
  select a.delivery_id as id from duly.attempt a
  where a.address_hash = hashtextextended($1, 0)
  union
  select d.id from (select id, "to" from duly.delivery_row order by id desc limit $5) d
  where d."to" = $1
)
select d.id, w.name as workspace, d.channel::text as channel, d."to", d.state::text as state, d.reason,
       d.due_at, d.created_at, d.state_at
from found
join duly.delivery_row d on d.id = found.id and d."to" = $1
join duly.workspace w on w.id = d.workspace_id
where ($2::int is null or d.workspace_id = $2)
  and ($3::text[] is null or d.state::text = any ($3))
order by d.id desc
limit $4
