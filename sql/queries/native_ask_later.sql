-- Asks about a hand-over again in a while. $1 delivery, $2 lease token, $3 workspace, $4 in how many seconds.
update duly.handed_over set ask_at = now() + make_interval(secs => $4::float8)
where delivery_id = $1 and lease_token = $2 and workspace_id = $3 and ended_at is null
