-- What was decided for a day, by what came of it and by the hour for which it was wished. $1 workspace or null, $2 the day.
select p.source, p.kind, p.reason, date_trunc('hour', p.wished_at) as hour, count(*) as how_many
from duly.series s
join duly.workspace w on w.id = s.workspace_id
join duly.planned p on p.source_id = s.id and p.workspace_id = s.workspace_id
where ($1::text is null or w.name = $1) and p.occurrence >= $2::date and p.occurrence < $2::date + 1
group by 1, 2, 3, 4
