-- Empties, or with $3 removes, members of campaigns that ended long ago. $1 workspaces, $2 days to keep, $4 how many at
-- most. See duly.remove_old_members.
select duly.remove_old_members($1::int[], make_interval(days => $2::int), $3, $4::int)
