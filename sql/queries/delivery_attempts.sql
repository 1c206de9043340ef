-- The calls made for a delivery, oldest first. $1 id.
select number, account, outcome, reason, provider_id, http_status, code, detail, began_at, took_ms, rulings::text as rulings
from duly.attempt where delivery_id = $1 order by began_at
