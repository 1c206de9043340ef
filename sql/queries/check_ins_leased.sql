-- Which of these deliveries are check-ins, with their series. $1 ids, $2 workspaces.
select p.delivery_id, p.contact_id, p.occurrence, p.kind as planned_kind, p.text_id, p.because::text as because,
       s.id as series_id, s.workspace_id, w.name as workspace, s.name, s.kind, s.templates::text as templates, s.category,
       s.priority, s.channels, s.rrule, s.begins_at, s.zone, s.exceptions, s.catch_up, s.earlier, s.later
from unnest($1::uuid[], $2::int[]) d (id, workspace_id)
join duly.planned p on p.delivery_id = d.id and p.workspace_id = d.workspace_id and p.source = 'check_in'
join duly.series s on s.id = p.source_id and s.workspace_id = p.workspace_id
join duly.workspace w on w.id = s.workspace_id
