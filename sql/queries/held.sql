-- What this node has held for longer than $2 seconds. $1 node.
select id, workspace_id from duly.delivery_row
where node_id = $1 and state in ('leased', 'sending') and state_at < now() - make_interval(secs => $2)
