-- Moves the planning of a series for a day on. $1 series, $2 day, $3 workspace id, $4 to which contact, $5 planned, $6 not
-- sent, $7 whether it is done.
update duly.plan_run r
set last_contact = coalesce($4, r.last_contact), planned = r.planned + $5, skipped = r.skipped + $6,
    moved_at = clock_timestamp(), done_at = case when $7 then clock_timestamp() end
where r.series_id = $1 and r.on_date = $2 and r.workspace_id = $3
