-- Whose check-in was decided in a chaos run so far, and whether with a delivery.
select c.external_id as name, p.delivery_id is not null as has_delivery
from duly.planned p join duly.contact c on c.id = p.contact_id and c.workspace_id = p.workspace_id
where p.source = 'check_in'
