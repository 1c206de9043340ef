-- Whom the planner writes to, a row for each of their addresses, the verified and older ones first; one without an address
-- for who has none. $1 workspace id, $2 contacts. stopped: category ('' for all) → why it must not be written to.
select c.id, c.external_id, c.first_name, c.name, c.locale, c.time_zone, c.attributes::text as attributes,
       a.channel, a.address, a.address_key, a.sealed,
       (select jsonb_object_agg(s.category, s.reason)::text from duly.suppression s
        where s.address_key = a.address_key and s.workspace_id in (c.workspace_id, 0) and s.channel in ('', a.channel)
          and s.account = '') as stopped
from duly.contact c
left join duly.address a on a.contact_id = c.id and a.contact_id = any ($2::uuid[]) and a.workspace_id = c.workspace_id
where c.workspace_id = $1 and c.id = any ($2::uuid[])
order by c.id, a.verified_at is null, a.created_at, a.address_key
