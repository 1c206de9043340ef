-- What is said to people of a series, and from when on. $1 series, $2 workspace id, $3 contacts.
select m.contact_id, m.variables::text as variables, m.begins_at, m.ends_on,
       date_trunc('minute', greatest(m.since, s.since)) as since
from duly.series_member m
join duly.series s on s.id = m.series_id and s.workspace_id = m.workspace_id
where m.series_id = $1 and m.workspace_id = $2 and m.contact_id = any ($3::uuid[])
order by m.contact_id
