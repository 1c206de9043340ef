-- Applies status callbacks, at most one that moves per delivery in a batch, and remembers every one.
-- A state only moves forward: what is late or repeated changes nothing, and a status of an earlier attempt
-- never touches a later one. A word of success also wins over `queued`: what was sent must not go again.
-- Says how many deliveries it knew, and which of the callbacks (by their place, from 1) moved one.
-- $1 ids, $2 attempts, $3 provider ids, $4 the platform's words, $5 new states or null, $6 reasons,
-- $7 codes, $8 details, $9 seconds until a retry; $10 account.
with c as (
  select * from unnest(
    $1::uuid[], $2::smallint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::float8[]
  ) with ordinality as c (id, attempt, provider_id, word, state, reason, code, detail, retry_seconds, n)
), before as (
  select r.id, r.workspace_id, r.state, r.lease_token, r.attempts, r.provider_id, r.address_key, c.n
  from c join duly.delivery_row r on r.id = c.id
  for update of r
), moved as (
  update duly.delivery_row r
  set state = c.state::duly.state,
      reason = c.reason, detail = c.detail,
      provider_id = case when c.state = 'queued' then null else c.provider_id end,
      due_at = case when c.state = 'queued' then greatest(r.due_at, now() + make_interval(secs => c.retry_seconds)) else r.due_at end,
      lease_token = case when r.state in ('queued', 'leased') or c.state = 'queued' then null else r.lease_token end,
      node_id = case when r.state in ('queued', 'leased') or c.state = 'queued' then null else r.node_id end,
      sent_at = case when c.state in ('sent', 'delivered', 'read') then coalesce(r.sent_at, now()) else r.sent_at end,
      delivered_at = case when c.state in ('delivered', 'read') then coalesce(r.delivered_at, now()) else r.delivered_at end,
      state_at = now()
  from c join before b on b.n = c.n
  where r.id = b.id and r.workspace_id = b.workspace_id and c.state is not null and r.attempts = c.attempt
    and (case c.state
           when 'sent' then r.state in ('queued', 'leased', 'sending', 'uncertain')
           when 'delivered' then r.state in ('queued', 'leased', 'sending', 'uncertain', 'sent')
           when 'read' then r.state in ('queued', 'leased', 'sending', 'uncertain', 'sent', 'delivered')
           else r.state in ('sending', 'uncertain', 'sent')
         end)
  returning c.n, r.id, r.workspace_id
), over as (
  update duly.handed_over h set ended_at = now()
  from moved m where h.delivery_id = m.id and h.workspace_id = m.workspace_id and h.ended_at is null
), learned as (
  -- The reconciler must know whose this message is: the call of a daemon that died has no attempt yet, and of
  -- equal messages it may have given us another one's. What was queued again has lost its call's token.
  insert into duly.attempt as a
    (delivery_id, lease_token, workspace_id, number, account, address_key, outcome, provider_id, began_at, took_ms)
  select b.id,
         coalesce(case when b.state not in ('queued', 'leased') then b.lease_token end,
                  (select max(k.lease_token) from duly.attempt k where k.delivery_id = b.id and k.number = c.attempt),
                  0),
         b.workspace_id, c.attempt, $10, b.address_key, 'accepted', c.provider_id, now(), 0
  from c join before b on b.n = c.n
  where c.state is not null and b.attempts = c.attempt and b.provider_id is distinct from c.provider_id
    and b.state in ('queued', 'leased', 'sending', 'uncertain', 'sent')
  on conflict (delivery_id, lease_token, workspace_id) do update set provider_id = excluded.provider_id
), remembered as (
  insert into duly.callback
    (workspace_id, delivery_id, attempt, account, provider_id, provider_status, code, moved, from_state)
  select b.workspace_id, c.id, c.attempt, $10, c.provider_id, c.word, c.code,
         exists (select from moved where moved.n = c.n), b.state
  from c join before b on b.n = c.n
  returning 1
)
select (select count(*) from remembered) as known,
       (select coalesce(array_agg(n), '{}') from moved) as moved
