-- Empties messages of old deliveries. $1 workspaces, $2 days to keep, $3 after which id, or null to begin $2 days
-- before $5 (null: with the first there is), $4 how many to look at. See duly.empty_old.
select reached, emptied as done from duly.empty_old(
  $1::int[], make_interval(days => $2::int),
  coalesce($3, duly.first_id_at($5::timestamptz - make_interval(days => $2::int)), '00000000-0000-0000-0000-000000000000'), $4::int)
