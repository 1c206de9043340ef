-- The next contacts of a workspace by id, whether they are in a segment, and where each is reached. $1 workspace, $2 after
-- which contact, $3 how many to look at, $4 what a contact must be like (a jsonpath) with $5 its variables, $6 channels in
-- the order they are tried, $7 category, $8 since when contacts are too new.
with page as materialized (
  select c.id, c.time_zone,
         jsonb_path_match(
           c.attributes || jsonb_build_object('contact', jsonb_strip_nulls(jsonb_build_object(
             'external_id', c.external_id, 'first_name', c.first_name, 'name', c.name, 'locale', c.locale,
             'time_zone', c.time_zone))),
           $4::text::jsonpath, $5::text::jsonb, true) and c.created_at <= $8 as fits
  from duly.contact c
  where c.workspace_id = $1 and c.id > coalesce($2::uuid, '00000000-0000-0000-0000-000000000000'::uuid)
  order by c.id limit $3
)
select p.id, p.time_zone, p.fits is true as fits, a.channel, a.address_key, a.address, a.sealed,
       (select s.reason from duly.suppression s
        where s.address_key = a.address_key and s.workspace_id in ($1, 0) and s.channel in ('', a.channel)
          and s.category in ('', $7) and s.account = '' limit 1) as suppressed
from page p
left join lateral (
  select a.* from duly.address a
  where p.fits and a.contact_id = p.id and a.workspace_id = $1 and a.channel = any ($6::text[])
  order by array_position($6::text[], a.channel), a.created_at, a.address_key limit 1
) a on true
order by p.id
