-- How far planning has come, the newest days first. $1 of this workspace only, or null; $2 for this day only, or null; $3
-- only what is not done yet.
select w.name as workspace, s.name as series, s.kind, r.on_date, r.planned, r.skipped, r.began_at, r.moved_at, r.done_at
from duly.plan_run r
join duly.series s on s.id = r.series_id and s.workspace_id = r.workspace_id
join duly.workspace w on w.id = r.workspace_id
where ($1::text is null or w.name = $1) and ($2::date is null or r.on_date = $2) and (not $3 or r.done_at is null and s.enabled)
order by r.on_date desc, w.name, s.name limit 1000
