-- Writes progress. $1 workspace, $2 a JSON array. See duly.add_progress_batch.
select "position", repeated, error from duly.add_progress_batch($1, $2::text::jsonb)
