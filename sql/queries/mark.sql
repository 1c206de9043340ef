-- The last gate before the platform: only what is still leased under this token, not canceled, not expired, not
-- suppressed and still within the time that the rules allowed becomes `sending`, and only while the claim stands
-- under which this node leased it: what it leased under an earlier one is the rescuer's. What a rule has stopped
-- meanwhile is ended; what is past its time goes back to be asked again. Asked again after a lost connection it
-- answers the same: what this token has marked already is marked.
-- $1 ids, $2 workspaces, $3 lease tokens, $4 node, $5 account, $6 address keys, $7 channels, $8 categories,
-- $9 until when the rules allow each (null: for good).
with stops as materialized (
  select s.* from duly.suppression s where s.address_key = any ($6::uuid[])
), asked as materialized (
  select w.*, (
    select s.reason from stops s
    where s.address_key = w.key and s.workspace_id in (w.workspace_id, 0) and s.channel in ('', w.channel)
      and s.category in ('', w.category) and s.account in ('', $5) and w.category <> 'opt_out_reply'
    limit 1
  ) as stop
  from unnest($1::uuid[], $2::int[], $3::bigint[], $6::uuid[], $7::text[], $8::text[], $9::timestamptz[])
    as w (id, workspace_id, lease_token, key, channel, category, until)
)
update duly.delivery_row r
set state = (case
      when r.state = 'sending' then 'sending'
      when r.expires_at <= now() then 'expired'
      when w.stop is not null then 'skipped'
      when w.until <= now() then 'queued'
      else 'sending' end)::duly.state,
    reason = case
      when r.state = 'sending' then r.reason
      when r.expires_at <= now() then 'expired'
      when w.stop is not null then w.stop
      else r.reason end,
    detail = case when r.state = 'leased' and w.stop is not null and (r.expires_at is null or r.expires_at > now())
                  then 'suppression: found by the last look before the call' else r.detail end,
    attempts = case
      when r.state = 'leased' and (r.expires_at is null or r.expires_at > now()) and w.stop is null
           and (w.until is null or w.until > now())
      then r.attempts + 1 else r.attempts end,
    account = $5, state_at = now(), sending_at = coalesce(case when r.state = 'sending' then r.sending_at end, now()),
    lease_token = case when r.state = 'leased' and w.until <= now() then null else r.lease_token end,
    node_id = case when r.state = 'leased' and w.until <= now() then null else r.node_id end
from asked w
where r.id = w.id and r.workspace_id = w.workspace_id and r.lease_token = w.lease_token
  and r.state in ('leased', 'sending') and r.node_id = $4
  and exists (select from duly.node n where n.id = $4 and n.alive_until > now())
returning r.id, r.lease_token, r.state = 'sending' as marked
