-- When the first queued delivery of each of these lanes is due, in seconds from now (negative: overdue).
-- $1 workspaces, $2 channels, $3 priorities. A lane without any has no row.
select a.workspace_id, a.channel, a.priority,
       extract(epoch from d.due_at - clock_timestamp())::float8 as due_in_seconds
from unnest($1::int[], $2::text[], $3::smallint[]) as a (workspace_id, channel, priority)
cross join lateral (
  select q.due_at from duly.delivery_row q
  where q.state = 'queued' and q.workspace_id = a.workspace_id
    and q.channel = a.channel::duly.channel and q.priority = a.priority
  order by q.due_at, q.id limit 1
) d
