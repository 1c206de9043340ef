-- The series of a workspace, or one of them. $1 workspace, $2 name or null. ahead: what waits, as planned.
select s.id as series_id, s.workspace_id, w.name as workspace, s.name, s.kind, s.templates::text as templates, s.category, s.priority,
       s.channels, s.rrule, s.begins_at, s.zone, s.exceptions, s.catch_up, s.earlier, s.later, s.enabled, s.problem, s.created_at,
       (select count(*) from duly.series_member m where m.series_id = s.id and m.workspace_id = s.workspace_id) as members,
       (select count(*) from duly.planned p
        where p.source_id = s.id and p.workspace_id = s.workspace_id and p.wished_at > now() and p.delivery_id is not null) as ahead
from duly.series s join duly.workspace w on w.id = s.workspace_id
where w.name = $1 and ($2::text is null or s.name = $2)
order by s.name
