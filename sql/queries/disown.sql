-- Gives up what this node holds in the database but not in its memory: what was only leased is queued again,
-- what may have been sent is uncertain. $1 ids, $2 workspaces, $3 node.
update duly.delivery_row r
set state = (case r.state when 'leased' then 'queued' else 'uncertain' end)::duly.state,
    reason = case r.state when 'leased' then r.reason else 'daemon_lost' end,
    lease_token = case r.state when 'leased' then null else r.lease_token end,
    ask_at = case r.state when 'leased' then r.ask_at else now() + interval '2 seconds' end, asks = 0,
    node_id = null, state_at = now()
from unnest($1::uuid[], $2::int[]) as o (id, workspace_id)
where r.id = o.id and r.workspace_id = o.workspace_id and r.node_id = $3 and r.state in ('leased', 'sending')
returning r.state::text as state
