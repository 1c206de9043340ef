-- What became of the deliveries that were queued in the last 24 hours, by workspace, account and state; those
-- sent in the last minute apart, by how many tens of seconds ago. A range of the primary key: ids begin with
-- the time.
select d.workspace_id, d.account, d.state::text as state,
       case when d.sent_at > now() - interval '1 minute'
            then greatest(0, floor(extract(epoch from now() - d.sent_at) / 10))::int end as tens_ago,
       count(*) as total, sum(d.segments)::bigint as segments
from duly.delivery_row d
where d.id >= duly.first_id_at(now() - interval '24 hours')
  and d.state in ('sent', 'delivered', 'read', 'failed', 'expired', 'skipped', 'canceled')
group by 1, 2, 3, 4
