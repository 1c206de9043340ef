-- The calls made for a delivery, oldest first, each with the node that had leased it. $1 id.
select a.number, a.account, a.outcome, a.reason, a.provider_id, a.http_status, a.code, a.detail, a.began_at, a.took_ms,
       a.rulings::text as rulings, a.waited_ms, a.lease_token >> 32 as node_id, n.name as node
from duly.attempt a left join duly.node n on n.id = a.lease_token >> 32
where a.delivery_id = $1 order by a.began_at
