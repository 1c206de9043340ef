-- What became of the deliveries that were queued within the last 24 hours, by workspace and state; those sent in
-- the last minute apart, by account and by how many tens of seconds ago. A range of the primary key, as an id
-- begins with its time. The failed ones are counted by when they failed, whenever they were queued: the index of
-- the dead letters, which somebody should look at or dismiss.
select workspace_id, state, account, tens_ago, count(*) as total, sum(segments)::bigint as segments
from (
  select workspace_id, state::text as state, segments,
         case when sent_at > now() - interval '1 minute' then account end as account,
         case when sent_at > now() - interval '1 minute'
              then greatest(0, floor(extract(epoch from now() - sent_at) / 10))::int end as tens_ago
  from duly.delivery_row
  where id >= duly.first_id_at(now() - interval '24 hours')
    and state in ('sent', 'delivered', 'read', 'expired', 'skipped', 'canceled')
) d
group by workspace_id, state, account, tens_ago
union all
select workspace_id, 'failed', null, null, count(*), 0 from duly.delivery_row
where state = 'failed' and dismissed_at is null and state_at > now() - interval '24 hours'
group by workspace_id
