-- Which lanes have planned deliveries that have not been spread yet, the time of the newest plan, and for when the
-- soonest is wanted. Reads the unspread alone, by their partial index.
select w.name as workspace, d.channel::text as channel, max(p.at) > now() - make_interval(secs => $1::float8) as growing,
       min(p.wished_at) < now() + interval '2 minutes' as soon
from duly.planned p
join duly.delivery_row d on d.id = p.delivery_id and d.workspace_id = p.workspace_id
join duly.workspace w on w.id = p.workspace_id
where p.spread_at is null and p.delivery_id is not null
group by 1, 2
