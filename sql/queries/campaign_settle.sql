-- Settles members whose deliveries have ended for good; what was said to them alone is not needed any more.
-- $1 campaign, $2 workspace.
update duly.campaign_member m
set state = case when d.state in ('sent', 'delivered', 'read') then 'sent' else 'skipped' end,
    reason = case when d.state not in ('sent', 'delivered', 'read') then coalesce(d.reason, d.state::text) end,
    sent_at = d.sent_at, variables = '{}'
from duly.delivery_row d
where m.campaign_id = $1 and m.workspace_id = $2 and m.state = 'over'
  and d.id = m.delivery_id and d.workspace_id = m.workspace_id
  and (d.state in ('delivered', 'read', 'skipped', 'expired', 'canceled')
       or d.state in ('sent', 'failed') and d.state_at < now() - interval '7 days')
