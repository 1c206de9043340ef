-- Opens the planning of each enabled series for each day that begins, where it begins first (UTC+14), within $1 hours,
-- and is not over yet where it ends last (UTC-12). Where a series catches up, also for the days of the last month for
-- which nobody has. $2 of this workspace only, or null; $3 for this day only, or null. Answers what it has opened.
with today as (
  select (now() at time zone 'UTC' - interval '12 hours')::date as first,
         (now() at time zone 'UTC' + interval '14 hours' + make_interval(hours => $1::int))::date as last
)
insert into duly.plan_run (series_id, on_date, workspace_id)
select s.id, d.day::date, s.workspace_id
from duly.series s
cross join today t
cross join lateral (select max(r.on_date) as day from duly.plan_run r where r.series_id = s.id and r.workspace_id = s.workspace_id) done
cross join lateral generate_series(
  coalesce($3::date, case when s.catch_up = 'skip' or done.day is null then t.first
                          else greatest(least(done.day + 1, t.first), t.first - 31) end)::timestamp,
  coalesce($3::date, t.last)::timestamp, interval '1 day') d (day)
where s.enabled and ($2::text is null or s.workspace_id = (select w.id from duly.workspace w where w.name = $2))
on conflict do nothing
returning series_id, on_date
