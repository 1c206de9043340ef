-- Those who were added to a campaign and are not gathered yet, as campaign_segment.sql has them. $1 workspace, $2 campaign,
-- $3 how many, $4 channels, $5 category.
select m.contact_id as id, c.time_zone, true as fits, a.channel, a.address_key, a.address, a.sealed,
       (select s.reason from duly.suppression s
        where s.address_key = a.address_key and s.workspace_id in ($1, 0) and s.channel in ('', a.channel)
          and s.category in ('', $5) and s.account = '' limit 1) as suppressed
from (select m.* from duly.campaign_member m
      where m.campaign_id = $2 and m.workspace_id = $1 and m.state = 'added' order by m.contact_id limit $3) m
left join duly.contact c on c.id = m.contact_id and c.workspace_id = $1
left join lateral (
  select a.* from duly.address a
  where a.contact_id = m.contact_id and a.workspace_id = $1 and a.channel = any ($4::text[])
  order by array_position($4::text[], a.channel), a.created_at, a.address_key limit 1
) a on true
order by m.contact_id
