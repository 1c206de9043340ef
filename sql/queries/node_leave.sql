-- Ends a node's claim at once, so that others take over without waiting. $1 node.
update duly.node set alive_until = now() where id = $1 and alive_until > now()
