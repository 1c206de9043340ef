-- What is queued, by lane without priority: all of it, what is due, and since when. Reads only queued rows,
-- by their partial index.
select d.workspace_id, d.channel::text as channel,
       count(*) as total, count(*) filter (where d.due_at <= now()) as due,
       sum(d.segments)::bigint as segments,
       coalesce(sum(d.segments) filter (where d.due_at <= now()), 0)::bigint as due_segments,
       count(*) filter (where d.due_at < now() - interval '5 minutes') as overdue,
       min(d.due_at) as oldest_due_at,
       extract(epoch from now() - min(d.due_at))::float8 as oldest_due_seconds
from duly.delivery_row d
where d.state = 'queued'
group by 1, 2
