-- What may be spread in some lanes, counted by all that counts for it. $1 workspaces, $2 channels; $3 of how many
-- characters of a number its place is told, where the contact's zone is not known: 0 where no rule asks for it.
select d.workspace_id, d.channel::text as channel, d.priority, m.category, c.time_zone,
       case when $3::int > 0 then left(d."to", $3) end as place, d.segments, p.wished_at,
       coalesce(p.earliest, p.wished_at) as earliest, coalesce(p.latest, p.wished_at) as latest, d.expires_at,
       count(*) as messages, min(case when $3 > 0 then d."to" end) as "to"
from unnest($1::int[], $2::text[]) as lane (workspace_id, channel)
join duly.delivery_row d
  on d.workspace_id = lane.workspace_id and d.channel = lane.channel::duly.channel and d.state = 'queued'
join duly.planned p on p.delivery_id = d.id and p.workspace_id = d.workspace_id
join duly.message m on m.id = d.message_id and m.workspace_id = d.workspace_id
left join duly.contact c on c.id = p.contact_id and c.workspace_id = p.workspace_id
where duly.may_be_spread(d, p) and d.due_at < 'infinity'
group by 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11
order by 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11
