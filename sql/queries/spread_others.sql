-- The segments that are queued or under way in some lanes and that spreading does not move, by slot. $1 workspaces,
-- $2 channels, $3 seconds of a slot.
select date_bin(make_interval(secs => $3::float8), greatest(d.due_at, now()), 'epoch') as slot, sum(d.segments)::bigint as segments
from unnest($1::int[], $2::text[]) as lane (workspace_id, channel)
join duly.delivery_row d on d.workspace_id = lane.workspace_id and d.channel = lane.channel::duly.channel
left join duly.planned p on p.delivery_id = d.id and p.workspace_id = d.workspace_id
where d.state in ('queued', 'leased') and (p.delivery_id is null or not duly.may_be_spread(d, p))
group by 1
order by 1
