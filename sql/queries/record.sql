-- Writes what platforms answered: the attempt, and the delivery's next state if it is still this call's to
-- move; `sending` for what the platform has taken for later. A callback or the reconciler may have been faster: then only what they could not know is added.
-- $1 ids, $2 workspaces, $3 lease tokens, $4 new states, $5 reasons, $6 details, $7 provider ids,
-- $8 seconds until a retry, $9 whether the call counts as an attempt, $10 attempt numbers, $11 address keys,
-- $12 outcomes, $13 http statuses, $14 platform codes, $15 seconds since the call began, $16 its ms; $17 account;
-- $18 what the rules answered, $19 ms from the lease to the call.
with o as (
  select * from unnest(
    $1::uuid[], $2::int[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::float8[],
    $9::bool[], $10::smallint[], $11::uuid[], $12::text[], $13::smallint[], $14::text[], $15::float8[], $16::int[], $18::text[], $19::int[]
  ) as o (id, workspace_id, lease_token, state, reason, detail, provider_id, retry_seconds, counts, number,
          address_key, outcome, http_status, code, ago_seconds, took_ms, rulings, waited_ms)
), attempt as (
  insert into duly.attempt as attempt
    (delivery_id, lease_token, workspace_id, number, account, address_key, outcome, reason, provider_id,
     http_status, code, detail, began_at, took_ms, rulings, waited_ms)
  select id, lease_token, workspace_id, number, $17, address_key, outcome, reason, provider_id,
         http_status, code, detail, clock_timestamp() - make_interval(secs => ago_seconds), took_ms, rulings::jsonb, waited_ms
  from o
  on conflict (delivery_id, lease_token, workspace_id) do update
  set outcome = excluded.outcome, reason = excluded.reason, http_status = excluded.http_status, code = excluded.code,
      detail = excluded.detail, began_at = excluded.began_at, took_ms = excluded.took_ms,
      provider_id = coalesce(excluded.provider_id, attempt.provider_id), rulings = excluded.rulings,
      waited_ms = excluded.waited_ms
)
update duly.delivery_row r
set state = case when r.state in ('sending', 'uncertain') then o.state::duly.state else r.state end,
    reason = case when r.state in ('sending', 'uncertain') then o.reason else r.reason end,
    detail = case when r.state in ('sending', 'uncertain') then o.detail else r.detail end,
    due_at = case when r.state in ('sending', 'uncertain') and o.state = 'queued'
                  then greatest(r.due_at, now() + make_interval(secs => o.retry_seconds)) else r.due_at end,
    planned_for = case when o.state = 'queued' then coalesce(r.planned_for, r.due_at) else r.planned_for end,
    attempts = case when r.state in ('sending', 'uncertain') and not o.counts then r.attempts - 1 else r.attempts end,
    lease_token = case when r.state in ('sending', 'uncertain') and o.state = 'queued' then null else r.lease_token end,
    node_id = null,
    ask_at = case when o.state = 'uncertain' and r.state = 'sending' then now() + interval '2 seconds' else r.ask_at end,
    asks = case when o.state = 'uncertain' and r.state = 'sending' then 0 else r.asks end,
    provider_id = coalesce(o.provider_id, r.provider_id), -- the answer to this very call is the truth
    sent_at = case when o.outcome = 'accepted' and o.state <> 'sending'
                   then coalesce(r.sent_at, clock_timestamp() - make_interval(secs => o.ago_seconds - o.took_ms / 1000.0))
                   else r.sent_at end,
    state_at = case when r.state in ('sending', 'uncertain') then now() else r.state_at end
from o
where r.id = o.id and r.workspace_id = o.workspace_id and r.lease_token = o.lease_token
  and r.state in ('sending', 'uncertain', 'sent', 'delivered', 'read', 'failed')
