-- What failed in the last 24 hours and was not dismissed, by reason and account, with the ids of a few: the
-- index of the dead letters.
select d.reason, d.account, count(*) as total, (array_agg(d.id::text order by d.state_at desc))[1:3] as ids
from duly.delivery_row d
where d.state = 'failed' and d.dismissed_at is null and d.state_at > now() - interval '24 hours'
group by 1, 2
order by total desc, 1, 2
