-- Empties, or with $3 removes, messages to many that are old. $1 workspaces, $2 days to keep.
select duly.empty_campaigns($1::int[], make_interval(days => $2::int), $3)
