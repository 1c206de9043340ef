-- Takes uncertain deliveries whose time to be asked about has come, for this daemon alone for a minute,
-- or until it dies (ask_free.sql). $1 accounts, $2 how many at most, $3 node.
-- Of the metadata only what sending needs: Postgres holds JSON (deep, huge numbers) that our parser refuses.
with due as (
  select id, workspace_id from duly.delivery_row
  where state = 'uncertain' and ask_at <= now() and account = any ($1::text[])
  order by ask_at limit $2
  for update skip locked
), claimed as (
  update duly.delivery_row r
  set ask_at = now() + interval '60 seconds', asks = r.asks + 1, node_id = $3
  from due
  where r.id = due.id and r.workspace_id = due.workspace_id
  returning r.id, r.workspace_id, r.message_id, r.lease_token, r.account, r.channel, r.priority, r."to", r.address_key,
            r.attempts, r.forgiven, r.segments, r.asks, r.reason, r.sending_at, r.sealed,
            extract(epoch from now() - r.state_at)::float8 as uncertain_seconds
)
select c.id, c.workspace_id, w.name as workspace, c.lease_token, c.account, c.channel::text as channel, c.priority,
       c."to", c.address_key, case when m.sealed is not null then c.message_id end as message_id,
       c.sealed as sealed_to, m.sealed as sealed_message, c.attempts, c.forgiven, c.segments, c.asks, c.reason,
       c.sending_at, c.uncertain_seconds, m.body, m.category,
       case when m.metadata ? 'media_urls' then jsonb_build_object('media_urls', m.metadata -> 'media_urls')::text
            else '{}' end as metadata,
       (select count(*)::int from duly.resolution v
        where v.delivery_id = c.id and v.lease_token = c.lease_token and v.workspace_id = c.workspace_id
          and v.answer = 'cannot_tell') as in_vain
from claimed c
join duly.message m on m.id = c.message_id and m.workspace_id = c.workspace_id
join duly.workspace w on w.id = c.workspace_id
