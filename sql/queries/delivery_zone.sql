-- The zone that was given for a delivery's recipient. $1 id.
select c.time_zone
from duly.delivery_row d
join duly.address a on a.address_key = d.address_key and a.workspace_id = d.workspace_id and a.channel = d.channel::text
join duly.contact c on c.id = a.contact_id and c.workspace_id = a.workspace_id
where d.id = $1
