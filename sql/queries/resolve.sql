-- Writes the reconciler's answer, if the delivery is still as uncertain as when it was asked about, and if
-- nobody else was given the message meanwhile (whoever passes one has asked ask_lock.sql before). What was handed over
-- for later and is found is `sending` until the platform says that it has gone.
-- $1 delivery, $2 workspace, $3 lease token, $4 which ask, $5 answer, $6 new state, $7 provider id, $8 detail,
-- $9 reason, $10 seconds until the next ask or the retry; null with `uncertain`: a person must decide.
with resolved as (
  update duly.delivery_row r
  set state = case when h.ahead then 'sending' else $6::text::duly.state end,
      reason = coalesce($9, case when $6 = 'uncertain' then r.reason end),
      detail = $8,
      provider_id = coalesce(r.provider_id, $7),
      sent_at = case when $6 = 'sent' and not h.ahead then coalesce(r.sent_at, r.sending_at) else r.sent_at end,
      due_at = case when $6 = 'queued' then greatest(r.due_at, now() + make_interval(secs => $10::float8)) else r.due_at end,
      ask_at = case when $6 = 'uncertain' then now() + make_interval(secs => $10::float8) end,
      lease_token = case when $6 = 'queued' then null else r.lease_token end,
      node_id = null,
      state_at = case when $6 = 'uncertain' then r.state_at else now() end
  from (
    select $6 = 'sent' and exists (
      select from duly.handed_over a
      where a.delivery_id = $1 and a.workspace_id = $2 and a.lease_token = $3 and a.ended_at is null) as ahead
  ) h
  where r.id = $1 and r.workspace_id = $2 and r.lease_token = $3 and r.state = 'uncertain' and r.asks = $4
    and ($7::text is null or not exists (
      select from duly.attempt a where a.provider_id = $7 and (a.delivery_id <> $1 or a.lease_token <> $3)))
  returning r.id, r.workspace_id, r.address_key, r.account, r.attempts, r.sending_at, r.state
), learned as (
  insert into duly.attempt as a
    (delivery_id, lease_token, workspace_id, number, account, address_key, outcome, provider_id, began_at, took_ms)
  select id, $3, workspace_id, attempts, account, address_key, 'accepted', $7, sending_at, 0
  from resolved where $7::text is not null
  on conflict (delivery_id, lease_token, workspace_id) do update set provider_id = coalesce(a.provider_id, excluded.provider_id)
)
insert into duly.resolution (delivery_id, workspace_id, lease_token, number, answer, became, detail)
select id, workspace_id, $3, $4, $5, state, $8 from resolved
on conflict do nothing
returning became::text as became
