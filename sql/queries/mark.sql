-- The last gate before the platform: only what is still leased under this token, not canceled and not
-- expired becomes `sending`, and only while the claim stands under which this node leased it: what it leased
-- under an earlier one is the rescuer's. Asked again after a lost connection it answers the same: what this
-- token has marked already is marked.
-- $1 ids, $2 workspaces, $3 lease tokens, $4 node, $5 account.
update duly.delivery_row r
set state = (case when r.state = 'leased' and r.expires_at <= now() then 'expired' else 'sending' end)::duly.state,
    reason = case when r.state = 'leased' and r.expires_at <= now() then 'expired' else r.reason end,
    attempts = case when r.state = 'leased' and (r.expires_at is null or r.expires_at > now())
                    then r.attempts + 1 else r.attempts end,
    account = $5, state_at = now(), sending_at = coalesce(case when r.state = 'sending' then r.sending_at end, now())
from unnest($1::uuid[], $2::int[], $3::bigint[]) as w (id, workspace_id, lease_token)
where r.id = w.id and r.workspace_id = w.workspace_id and r.lease_token = w.lease_token
  and r.state in ('leased', 'sending') and r.node_id = $4
  and exists (select from duly.node n where n.id = $4 and n.alive_until > now())
returning r.id, r.lease_token, r.state = 'sending' as marked
