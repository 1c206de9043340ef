-- Series that are planned from, whether enabled or not, by workspace and name. $1 kinds, $2 workspace or null, $3 ids or null.
select s.id as series_id, s.workspace_id, w.name as workspace, s.name, s.kind, s.templates::text as templates, s.category,
       s.priority, s.channels, s.rrule, s.begins_at, s.zone, s.exceptions, s.catch_up, s.earlier, s.later, s.enabled,
       now() as now
from duly.series s
join duly.workspace w on w.id = s.workspace_id
where s.kind = any ($1::text[]) and ($2::text is null or w.name = $2) and ($3::uuid[] is null or s.id = any ($3::uuid[]))
order by w.name, s.name
