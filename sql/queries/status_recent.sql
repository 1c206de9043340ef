-- What became of the deliveries that were queued in the last 24 hours, by workspace, account and state, and
-- the segments that were sent in the last minute. A range of the primary key: ids begin with the time.
select d.workspace_id, d.account, d.state::text as state, count(*) as total,
       coalesce(sum(d.segments) filter (where d.sent_at > now() - interval '1 minute'), 0)::bigint as minute_segments
from duly.delivery_row d
where d.id >= duly.first_id_at(now() - interval '24 hours')
  and d.state in ('sent', 'delivered', 'read', 'failed', 'expired', 'skipped', 'canceled')
group by 1, 2, 3
