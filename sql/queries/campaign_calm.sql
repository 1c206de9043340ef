-- Notes that nothing of a canceled campaign can come back to the queue any more. $1 campaign, $2 workspace.
update duly.campaign c set restless = false
where c.id = $1 and c.workspace_id = $2 and c.restless and c.state = 'canceled'
  and not exists (
    select from duly.campaign_member m
    join duly.delivery_row d on d.id = m.delivery_id and d.workspace_id = m.workspace_id
    where m.campaign_id = $1 and m.workspace_id = $2 and m.state in ('queued', 'over')
      and d.state in ('queued', 'leased', 'sending', 'uncertain', 'sent'))
