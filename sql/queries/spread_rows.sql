-- The same, one by one, in the order in which they were queued. $1 … $3 as for spread_classes.
select s.id, s.due_at, s.spread, s.workspace_id, s.channel, s.priority, s.category, s.time_zone, s.place, s.segments,
       s.wished_at, s.earliest, s.latest, s.expires_at
from duly.spreadable($1, $2, $3) s
order by s.id
