-- Renews a node's claim on all it holds, if it still stands. $1 node, $2 lease seconds.
-- Returns how many nodes live, this one included; no row where the claim had run out.
update duly.node
set alive_until = now() + make_interval(secs => $2)
where id = $1 and alive_until > now()
returning (select count(*)::int from duly.node n where n.alive_until > now()) as alive
