-- What may be spread in some lanes, counted by all that counts for it. $1 workspaces, $2 channels, $3 the length of places:
-- see duly.spreadable.
select s.workspace_id, s.channel, s.priority, s.category, s.time_zone, s.place, s.segments, s.wished_at, s.earliest, s.latest,
       s.expires_at, count(*) as messages, min(case when $3 > 0 then s."to" end) as "to"
from duly.spreadable($1, $2, $3) s
group by 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11
order by 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11
