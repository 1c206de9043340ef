-- What became of the deliveries that were queued within the last 24 hours, a row per workspace and state:
-- a range of the primary key, as an id begins with its time. The failed ones are counted by when they
-- failed, whenever they were queued: the index of the dead letters, which somebody should look at or dismiss.
select workspace_id, state::text as state, count(*) as total from duly.delivery_row
where id >= duly.first_id_at(now() - interval '24 hours')
  and state in ('sent', 'delivered', 'read', 'expired', 'skipped', 'canceled')
group by workspace_id, state
union all
select workspace_id, 'failed', count(*) from duly.delivery_row
where state = 'failed' and dismissed_at is null and state_at > now() - interval '24 hours'
group by workspace_id
