-- The last gate before the platform: only what is still leased under this token, not canceled, not expired, not
-- suppressed and still within the time that the rules allowed becomes `sending`, and only while the claim stands
-- under which this node leased it: what it leased under an earlier one is the rescuer's. What a rule has stopped
-- meanwhile is ended; what is past its time goes back to be asked again, and what is of a campaign that is paused or
-- canceled goes back for the campaigner to take it. Asked again after a lost connection it answers the same: what this
-- token has marked already is marked.
-- $1 ids, $2 workspaces, $3 lease tokens, $4 node, $5 account, $6 address keys, $7 channels, $8 categories,
-- $9 until when the rules allow each (null: for good).
with stops as materialized (
  select s.* from duly.suppression s where s.address_key = any ($6::uuid[])
), paused as materialized (
  select p.delivery_id
  from unnest($1::uuid[]) as w (id)
  join duly.planned p on p.delivery_id = w.id and p.source = 'campaign'
  join duly.campaign c on c.id = p.source_id and c.workspace_id = p.workspace_id and c.restless
                          and c.state in ('paused', 'canceled')
  where (select exists (select from duly.campaign r where r.restless)) -- else nothing is looked for
), asked as materialized (
  select w.*, w.id in (select delivery_id from paused) as paused, (
    select s.reason from stops s
    where s.address_key = w.key and s.workspace_id in (w.workspace_id, 0) and s.channel in ('', w.channel)
      and s.category in ('', w.category) and s.account in ('', $5) and w.category <> 'opt_out_reply'
    limit 1
  ) as stop
  from unnest($1::uuid[], $2::int[], $3::bigint[], $6::uuid[], $7::text[], $8::text[], $9::timestamptz[])
    as w (id, workspace_id, lease_token, key, channel, category, until)
)
update duly.delivery_row r
set (state, reason, detail, attempts, sending_at, lease_token, node_id, due_at, planned_for) = (
      select (case b.becomes when 'marked' then 'sending' when 'paused' then 'queued' else b.becomes end)::duly.state,
             case b.becomes when 'expired' then 'expired' when 'skipped' then w.stop else r.reason end,
             case b.becomes when 'skipped' then 'suppression: found by the last look before the call' else r.detail end,
             case b.becomes when 'sending' then r.attempts + 1 else r.attempts end,
             case b.becomes when 'sending' then statement_timestamp() else r.sending_at end,
             case when b.becomes in ('queued', 'paused') then null else r.lease_token end,
             case when b.becomes in ('queued', 'paused') then null else r.node_id end,
             case b.becomes when 'paused' then greatest(r.due_at, now() + interval '5 seconds') else r.due_at end,
             case b.becomes when 'paused' then coalesce(r.planned_for, r.due_at) else r.planned_for end
      from (
        select case
          when r.state = 'sending' then 'marked'
          when r.expires_at <= present.at then 'expired'
          when w.stop is not null then 'skipped'
          when w.until <= present.at then 'queued'
          when w.paused then 'paused'
          else 'sending' end as becomes
        -- Not now(): the statement may have waited for a cap or for a row, past what was allowed until then.
        from (select clock_timestamp() as at) present
      ) b),
    account = $5, state_at = now()
from asked w
where r.id = w.id and r.workspace_id = w.workspace_id and r.lease_token = w.lease_token
  and r.state in ('leased', 'sending') and r.node_id = $4
  and exists (select from duly.node n where n.id = $4 and n.alive_until > statement_timestamp())
returning r.id, r.lease_token, r.state = 'sending' as marked
