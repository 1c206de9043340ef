-- Every workspace and channel that has something queued: how many, and the ids of a few. Only queued rows are
-- read, by their partial index.
select w.name as workspace, q.channel::text as channel, q.total,
       array(
         select d.id::text from duly.delivery_row d
         where d.state = 'queued' and d.workspace_id = q.workspace_id and d.channel = q.channel
         order by d.due_at limit 3
       ) as ids
from (
  select workspace_id, channel, count(*) as total from duly.delivery_row where state = 'queued' group by 1, 2
) q
join duly.workspace w on w.id = q.workspace_id
order by 1, 2
