-- Sets how people of a chaos run want to be asked. $1 workspace, $2 a JSON array.
select count(duly.set_preference($1, p.contact, p.enabled, p.day, p.time, p.on_goal_met, p.on_partial_goal, p.style, null, p.priority))
from jsonb_to_recordset($2::text::jsonb) p (
  contact text, enabled boolean, day text, "time" text, on_goal_met boolean, on_partial_goal boolean, style text, priority integer)
