-- A person's contacts. $1 workspace id, $2 contacts.
select c.id, c.external_id, c.first_name, c.name, c.locale, c.time_zone, c.max_per_week,
       c.attributes::text as attributes_json, c.created_at, c.updated_at
from duly.contact c
where c.workspace_id = $1 and c.id = any ($2::uuid[])
order by c.created_at, c.id
