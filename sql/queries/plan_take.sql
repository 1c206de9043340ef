-- The planning that nobody is at and that was moved on longest ago: its row is held until the end of the transaction.
-- $1 kinds, $2 series to leave out; $3 of this workspace only, or null; $4 for this day only, or null.
select r.series_id, r.on_date, r.last_contact, r.workspace_id, w.name as workspace, s.name, s.kind, s.templates::text as templates,
       s.category, s.priority, s.channels, s.rrule, s.begins_at, s.zone, s.exceptions, s.catch_up, s.earlier, s.later, now() as now
from duly.plan_run r
join duly.series s on s.id = r.series_id and s.workspace_id = r.workspace_id
join duly.workspace w on w.id = r.workspace_id
where r.done_at is null and s.enabled and s.kind = any ($1::text[]) and s.id <> all ($2::uuid[])
  and ($3::text is null or w.name = $3) and ($4::date is null or r.on_date = $4)
order by r.on_date, r.moved_at
limit 1
for update of r skip locked
