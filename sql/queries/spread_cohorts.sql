-- The quarters of an hour that most of what is still queued was planned for: how many messages and segments each has in
-- all, how many of them are gone, until when the others are placed, and how many of these beyond their tolerance.
-- $1 at most so many.
select date_bin('15 minutes', p.wished_at, 'epoch') as wished,
       count(*) as messages, sum(d.segments)::bigint as segments,
       count(*) filter (where d.state not in ('queued', 'leased')) as gone,
       max(d.due_at) filter (where d.state in ('queued', 'leased')) as last_due,
       count(*) filter (where d.state in ('queued', 'leased') and d.due_at > p.latest) as beyond
from duly.workspace w
join duly.planned p on p.workspace_id = w.id and p.delivery_id is not null
                       and p.wished_at > now() - interval '2 days' and p.wished_at < now() + interval '8 days'
join duly.delivery_row d on d.id = p.delivery_id and d.workspace_id = p.workspace_id
group by 1
having count(*) filter (where d.state in ('queued', 'leased')) >= 10
order by count(*) filter (where d.state in ('queued', 'leased')) desc, 1
limit $1
