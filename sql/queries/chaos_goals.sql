-- Gives people of a chaos run their goals. $1 workspace, $2 a JSON array of contact, goal, target.
select count(duly.set_goal($1, g.contact, g.goal, g.target, 'times', 'day'))
from jsonb_to_recordset($2::text::jsonb) g (contact text, goal text, target numeric)
