-- The deliveries to one address, newest first. $1 address, $2 workspace or null, $3 states or null, $4 how many.
-- Every one that was ever tried is found by its attempts; one that never was, only among the newest $5.
with known as materialized (
  select duly.address_keys($1) as keys
), found as (
  select a.delivery_id as id from known join duly.attempt a on a.address_key = any (known.keys)
  union
  select d.id from known join (select id, address_key from duly.delivery_row order by id desc limit $5) d
    on d.address_key = any (known.keys)
)
select d.id, w.name as workspace, d.channel::text as channel, duly.shown(d."to", d.sealed) as "to", d.state::text as state, d.reason,
       d.due_at, d.created_at, d.state_at
from found
join duly.delivery_row d on d.id = found.id
join duly.workspace w on w.id = d.workspace_id
where ($2::int is null or d.workspace_id = $2)
  and ($3::text[] is null or d.state::text = any ($3))
order by d.id desc
limit $4
