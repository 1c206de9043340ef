-- Leases deliveries before their time, to hand them over: those that are still queued for the same time.
-- $1 ids, $2 workspaces, $3 due times, $4 lease token, $5 node. As with lease.sql, the mark's commit is what counts.
with unhurried as materialized (
  select set_config('synchronous_commit', 'off', true)
), picked as (
  select d.id, d.workspace_id
  from unhurried cross join unnest($1::uuid[], $2::int[], $3::timestamptz[]) as w (id, workspace_id, due_at)
  join duly.delivery_row d on d.id = w.id and d.workspace_id = w.workspace_id
  where d.state = 'queued' and d.due_at = w.due_at
  order by d.id
  for update of d skip locked
)
update duly.delivery_row r
set state = 'leased', lease_token = $4, node_id = $5, state_at = now()
from picked
where r.id = picked.id and r.workspace_id = picked.workspace_id and r.state = 'queued'
  and exists (select from duly.node n where n.id = $5 and n.alive_until > now())
returning r.id
