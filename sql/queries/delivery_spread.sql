-- Where spreading has placed a planned delivery, and by which capacity. $1 id.
select p.spread_at, p.wished_at, p.placed_at, p.because #>> '{spread,per_hour}' as per_hour, p.placed_at > p.latest as beyond
from duly.planned p
where p.delivery_id = $1 and p.placed_at is not null
