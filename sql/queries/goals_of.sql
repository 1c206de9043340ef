-- Somebody's preferences and goals as JSON. $1 workspace, $2 contact. See duly.goals_of.
select duly.goals_of($1, $2)::text
