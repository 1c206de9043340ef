-- When a delivery was handed over to a platform for later, and for when, oldest first. $1 id.
select account, send_at, provider_id, at, ended_at from duly.handed_over where delivery_id = $1 order by at
