-- Leases due deliveries, at most so many of each lane asked for, oldest first; what has expired is ended
-- instead. $1 workspaces, $2 channels, $3 priorities, $4 how many of each; $5 lease token, $6 node.
-- Of the metadata only what sending needs: Postgres holds JSON (deep, huge numbers) that our parser refuses.
-- The commit does not wait for the disk: a lease that a crash of the server forgets is a row that is queued
-- still, and its token passes no mark. The mark's own commit waits.
with unhurried as materialized (
  select set_config('synchronous_commit', 'off', true)
), asked as (
  select a.* from unnest($1::int[], $2::text[], $3::smallint[], $4::int[])
    as a (workspace_id, channel, priority, how_many) cross join unhurried
), picked as (
  select d.id, d.workspace_id from asked cross join lateral (
    select q.id, q.workspace_id from duly.delivery_row q
    where q.state = 'queued' and q.workspace_id = asked.workspace_id
      and q.channel = asked.channel::duly.channel and q.priority = asked.priority
      and q.due_at <= now()
    order by q.due_at, q.id
    limit asked.how_many
    for update skip locked
  ) d
), leased as (
  update duly.delivery_row r
  set state = (case when r.expires_at <= now() then 'expired' else 'leased' end)::duly.state,
      reason = case when r.expires_at <= now() then 'expired' else r.reason end,
      lease_token = $5, node_id = $6, state_at = now()
  -- As arrays, which the planner takes for short: of the lateral limits it would expect a tenth of the backlog,
  -- and read the whole table to join it.
  from unnest(array(select id from picked), array(select workspace_id from picked)) as picked (id, workspace_id)
  where r.id = picked.id and r.workspace_id = picked.workspace_id
    and exists (select from duly.node n where n.id = $6 and n.alive_until > now())
  returning r.id, r.workspace_id, r.message_id, r.channel, r.priority, r."to", r.expires_at, r.attempts, r.forgiven,
            r.segments, r.state, r.due_at, r.address_key, r.sealed
)
select l.id, l.workspace_id, l.channel::text as channel, l.priority, l."to", l.address_key, l.attempts, l.forgiven,
       extract(epoch from l.expires_at - now())::float8 as expires_in_seconds,
       l.segments, l.state = 'leased' as leased, m.body, m.category,
       case when m.metadata ? 'media_urls' then jsonb_build_object('media_urls', m.metadata -> 'media_urls')::text
            else '{}' end as metadata,
       case when m.sealed is not null then l.message_id end as message_id, l.sealed as sealed_to, m.sealed as sealed_message,
       m.text_id is not null as from_template
from leased l
join duly.message m on m.id = l.message_id and m.workspace_id = l.workspace_id
order by l.due_at, l.id
