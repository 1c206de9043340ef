-- The deliveries of a chaos run's campaign, those that were taken back among them.
select p.delivery_id as delivery, p.contact_id as contact, d.state = 'canceled' as taken_back
from duly.planned p join duly.delivery_row d on d.id = p.delivery_id and d.workspace_id = p.workspace_id
where p.source = 'campaign'
