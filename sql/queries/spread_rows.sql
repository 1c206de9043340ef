-- The same, one by one, in the order in which they were queued. $1 … $3 as for spread_classes.
select d.id, d.due_at, p.spread_at is not null as spread,
       d.workspace_id, d.channel::text as channel, d.priority, m.category, c.time_zone,
       case when $3::int > 0 then left(d."to", $3) end as place, d.segments, p.wished_at,
       coalesce(p.earliest, p.wished_at) as earliest, coalesce(p.latest, p.wished_at) as latest, d.expires_at
from unnest($1::int[], $2::text[]) as lane (workspace_id, channel)
join duly.delivery_row d
  on d.workspace_id = lane.workspace_id and d.channel = lane.channel::duly.channel and d.state = 'queued'
join duly.planned p on p.delivery_id = d.id and p.workspace_id = d.workspace_id
join duly.message m on m.id = d.message_id and m.workspace_id = d.workspace_id
left join duly.contact c on c.id = p.contact_id and c.workspace_id = p.workspace_id
where duly.may_be_spread(d, p) and d.due_at < 'infinity'
order by d.id
