-- How a person wants to be written to. $1 workspace id, $2 contacts.
select p.contact_id, p.enabled, p.send_day, p.send_time, p.on_goal_met, p.on_partial_goal, p.style,
       to_jsonb(p.channels)::text as channels_json, p.priority, p.updated_at
from duly.preference p
where p.workspace_id = $1 and p.contact_id = any ($2::uuid[])
