-- The series of reminders that a person is in. $1 workspace id, $2 contacts.
select m.contact_id, s.name as series, m.variables::text as variables_json, m.begins_at, m.ends_on, m.since
from duly.series_member m join duly.series s on s.id = m.series_id and s.workspace_id = m.workspace_id
where m.workspace_id = $1 and m.contact_id = any ($2::uuid[])
order by s.name
