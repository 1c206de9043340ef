-- Makes a series of check-ins or changes it; null leaves a field as it is. $1 workspace, $2 name, $3 templates as JSON, $4
-- category, $5 priority, $6 channels, $7 how it catches up, $8 and $9 minutes it may be moved earlier and later, $10 enabled.
select duly.put_check_in($1, $2, $3::text::jsonb, $4, $5::int, $6::text[], $7, make_interval(mins => $8::int),
                         make_interval(mins => $9::int), $10)
