-- The quarter of an hour, of the last 12 hours and the next eight days, for which most is planned; no row where that is
-- fewer than $1. Counts by an index alone.
select date_bin('15 minutes', p.wished_at, 'epoch') as peak
from duly.workspace w
join duly.planned p on p.workspace_id = w.id and p.delivery_id is not null
                       and p.wished_at > now() - interval '12 hours' and p.wished_at < now() + interval '8 days'
group by 1
having count(*) >= $1
order by count(*) desc, 1
limit 1
