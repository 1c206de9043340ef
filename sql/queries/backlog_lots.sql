-- All that has yet to be sent, summed by lane and by when it is due and expires: at most so many rows a lane as
-- there are times asked for, whatever is queued. Reads the queued rows and those that daemons have leased, by
-- their partial indexes. $1 between which times they are due, $2 between which they expire (both ascending);
-- $3 a category, to tell its rows apart as `meant`, or null for all.
select q.workspace_id, q.channel::text as channel, q.priority,
       width_bucket(q.due_at, $1::timestamptz[]) as slot, q.meant,
       count(*) as messages, sum(q.segments)::bigint as segments,
       extract(epoch from min(q.due_at) - now())::float8 as first_due_seconds,
       extract(epoch from max(q.due_at) - now())::float8 as last_due_seconds,
       extract(epoch from min(q.expires_at) - now())::float8 as first_expiry_seconds,
       extract(epoch from max(q.expires_at) - now())::float8 as last_expiry_seconds
from (
  select d.workspace_id, d.channel, d.priority, d.due_at, d.expires_at, d.segments,
         $3::text is null or exists (
           select from duly.message m
           where m.id = d.message_id and m.workspace_id = d.workspace_id and m.category = $3
         ) as meant
  from duly.delivery_row d where d.state = 'queued'
  union all
  select d.workspace_id, d.channel, d.priority, d.due_at, d.expires_at, d.segments,
         $3::text is null or exists (
           select from duly.message m
           where m.id = d.message_id and m.workspace_id = d.workspace_id and m.category = $3
         )
  from duly.delivery_row d where d.state = 'leased'
) q
group by q.workspace_id, q.channel, q.priority, slot, width_bucket(q.expires_at, $2::timestamptz[]), q.meant
