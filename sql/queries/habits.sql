-- When these people are there, and the workspace's people together (the contact of all zeros): weights as of now.
-- $1 workspace, $2 contacts.
select h.contact_id, h.hour, duly.faded(h.active, h.at) as active, duly.faded(h.sent, h.at) as sent,
       duly.faded(h.answered, h.at) as answered
from duly.habit h
where h.workspace_id = $1 and h.contact_id = any ($2::uuid[] || '00000000-0000-0000-0000-000000000000'::uuid)
