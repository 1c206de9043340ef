-- The links in what was sent to a person. $1 workspace id, $2 address keys.
select l.delivery_id as delivery, l.target, l.clicks, l.expires_at, l.sealed as sealed_link, l.token as identity_link
from duly.deliveries_to($1, $2) as t (id)
join duly.link l on l.delivery_id = t.id and l.workspace_id = $1
order by l.delivery_id, l.token
