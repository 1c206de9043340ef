-- Removes old plans and progress. $1 workspaces, $2 days to keep, $3 how many of each at most. See duly.remove_old_plans.
select duly.remove_old_plans($1::int[], make_interval(days => $2::int), $3::int)
