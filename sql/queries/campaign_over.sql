-- Notes whose delivery has left the queue. $1 campaign, $2 workspace.
update duly.campaign_member m
set state = 'over', sent_at = d.sent_at
from duly.delivery_row d
where m.campaign_id = $1 and m.workspace_id = $2 and m.state = 'queued'
  and d.id = m.delivery_id and d.workspace_id = m.workspace_id
  and d.state not in ('queued', 'leased', 'sending', 'uncertain')
