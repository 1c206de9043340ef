-- Frees what daemons that have died since had taken to ask about, and what this one has without writing an
-- answer. A node that has been forgotten is dead too. $1 this node, or null while it may be asking.
with dropped as (
  select r.id, r.workspace_id from duly.delivery_row r
  where r.state = 'uncertain' and r.ask_at > now() and r.node_id is not null
    and (r.node_id = $1 or not exists (select from duly.node n where n.id = r.node_id and n.alive_until > now()))
  for update skip locked
)
update duly.delivery_row r
set ask_at = now(), node_id = null
from dropped
where r.id = dropped.id and r.workspace_id = dropped.workspace_id
