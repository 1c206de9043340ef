-- People's goals with what was done for them. $1 workspace id, $2 contacts, $3 for each which of the clocks: $4 to $9 from
-- when until before when counts by a clock for a day's goal, a week's and a month's; $10 the day that it is asked about. A
-- goal counts from its first day on, and until the end of the period in which its last day is.
select g.contact_id, g.name, g.unit, g.target, g.period, coalesce(r.done, 0) as done
from unnest($2::uuid[], $3::integer[]) as who (contact_id, clock)
join unnest($4::timestamptz[], $5::timestamptz[], $6::timestamptz[], $7::timestamptz[], $8::timestamptz[], $9::timestamptz[],
            $10::date[]) with ordinality
  as a (day_begin, day_end, week_begin, week_end, month_begin, month_end, on_date, clock) on a.clock = who.clock
join duly.goal g on g.contact_id = who.contact_id and g.contact_id = any ($2::uuid[]) and g.workspace_id = $1
cross join lateral (
  select case g.period when 'day' then a.day_begin when 'week' then a.week_begin else a.month_begin end as begins,
         case g.period when 'day' then a.day_end when 'week' then a.week_end else a.month_end end as ends) s
left join lateral (
  select sum(p.amount) as done from duly.progress p
  where p.goal_id = g.id and p.workspace_id = $1 and p.at >= s.begins and p.at < s.ends) r on true
cross join lateral (
  select case when g.period = 'week' and extract(isodow from a.on_date) = 1 or g.period = 'month' and extract(day from a.on_date) = 1
              then a.on_date - 1 else a.on_date end as day) last -- as daemon/planning/goals.py has it
where (g.begins_on is null or g.begins_on <= last.day)
  and (g.ends_on is null or g.ends_on >= date_trunc(g.period, last.day::timestamp)::date)
order by g.contact_id, g.name
