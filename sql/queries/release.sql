-- Hands back what was leased and not begun. $1 node, $2 lease tokens, or null for all the node holds.
update duly.delivery_row
set state = 'queued', lease_token = null, node_id = null, state_at = now()
where node_id = $1 and state = 'leased' and ($2::bigint[] is null or lease_token = any ($2::bigint[]))
