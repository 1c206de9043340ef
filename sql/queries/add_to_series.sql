-- Adds people to a series of reminders. $1 workspace, $2 series, $3 a JSON array.
select "position", added, error from duly.add_to_series_batch($1, $2, $3::text::jsonb)
