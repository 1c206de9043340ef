-- What came of a delivery, and whether it was helpful. $1 id.
select r.first_at as at, r.kind, r.times, null as via from duly.response r where r.delivery_id = $1
union all
select f.at, case when f.helpful then 'helpful' else 'not helpful' end, 1, f.via from duly.feedback f where f.delivery_id = $1
order by 1
