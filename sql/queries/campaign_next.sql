-- The next members of a campaign that are to be queued, with what is known of each. $1 campaign, $2 workspace, $3 due until
-- when, $4 how many, $5 whether those that get the winner, or those whose variant was drawn.
select m.contact_id, m.variables::text as own, m.channel, m.address_key, m.variant, m.wall_at, m.due_at, m.generation,
       a.address, a.sealed, c.id as contact, c.first_name, c.name, c.locale, c.external_id, c.attributes::text as attributes
from (select m.* from duly.campaign_member m
      where m.campaign_id = $1 and m.workspace_id = $2 and m.state = 'waiting' and (m.variant is null) = $5
        and m.due_at <= $3
      order by m.due_at, m.contact_id limit $4) m
left join duly.address a on a.address_key = m.address_key and a.workspace_id = m.workspace_id and a.channel = m.channel
left join duly.contact c on c.id = a.contact_id and c.workspace_id = a.workspace_id
order by m.due_at, m.contact_id
