-- When a person was there, as it was learned. $1 workspace id, $2 contacts.
select h.contact_id as contact, h.hour as hour_of_week, h.active, h.sent, h.answered, h.at
from duly.habit h
where h.workspace_id = $1 and h.contact_id = any ($2::uuid[])
order by h.contact_id, h.hour
