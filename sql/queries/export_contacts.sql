-- A person's contacts with their addresses. $1 workspace id, $2 contacts.
select c.id, c.external_id, c.first_name, c.name, c.locale, c.time_zone, c.max_per_week,
       c.attributes::text as attributes_json, c.created_at, c.updated_at,
       (select coalesce(jsonb_agg(jsonb_build_object(
          'channel', a.channel, 'address', a.address, 'verified_at', a.verified_at, 'own', a.own, 'created_at', a.created_at)
          order by a.created_at), '[]')::text
        from duly.address a where a.contact_id = c.id and a.workspace_id = c.workspace_id) as addresses_json
from duly.contact c
where c.workspace_id = $1 and c.id = any ($2::uuid[])
order by c.created_at, c.id
