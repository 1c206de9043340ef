-- The planning of a workspace's check-ins for the days that are not over everywhere, held until the end of the transaction.
-- $1 workspace id.
select r.series_id, r.on_date, r.last_contact, r.done_at is not null as done, r.workspace_id, w.name as workspace, s.name, s.kind,
       s.templates::text as templates, s.category, s.priority, s.channels, s.rrule, s.begins_at, s.zone, s.exceptions,
       s.catch_up, s.earlier, s.later, now() as now
from duly.plan_run r
join duly.series s on s.id = r.series_id and s.workspace_id = r.workspace_id
join duly.workspace w on w.id = r.workspace_id
where r.workspace_id = $1 and s.kind = 'check_in' and s.enabled
  and r.on_date >= (now() at time zone 'UTC' - interval '12 hours')::date
order by r.series_id, r.on_date
for update of r
