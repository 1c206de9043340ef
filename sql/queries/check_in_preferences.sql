-- How people want to be written to. $1 workspace id, $2 contacts, $3 series, $4 a day: `decided`, whether they have a
-- check-in of the series on that day already.
select p.contact_id, p.enabled, p.send_day, p.send_time, p.on_goal_met, p.on_partial_goal, p.style, p.channels, p.priority,
       d.delivery_id is not null as decided
from duly.preference p
left join lateral (
  select d.delivery_id from duly.planned d
  where d.source_id = $3 and d.contact_id = p.contact_id and d.workspace_id = p.workspace_id
    and d.occurrence >= $4::date and d.occurrence < $4::date + 1 and d.delivery_id is not null limit 1) d on true
where p.workspace_id = $1 and p.contact_id = any ($2::uuid[])
