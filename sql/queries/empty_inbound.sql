-- Empties, or with $5 removes, what people wrote. $1 workspaces, $2 days to keep, $3 when it was last done, or null,
-- $4 how many at most.
select duly.empty_inbound($1::int[], make_interval(days => $2::int), $3, $4, $5)
