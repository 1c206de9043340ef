-- Notes whose delivery is tried again after the platform had taken it. $1 campaign, $2 workspace.
update duly.campaign_member m set state = 'queued'
from duly.delivery_row d
where m.campaign_id = $1 and m.workspace_id = $2 and m.state = 'over'
  and d.id = m.delivery_id and d.workspace_id = m.workspace_id and d.state in ('queued', 'leased', 'sending', 'uncertain')
