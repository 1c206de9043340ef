-- Skips members whose campaign is over, so many at once. $1 campaign, $2 workspace, $3 how many.
update duly.campaign_member m set state = 'skipped', reason = 'expired'
where m.campaign_id = $1 and m.workspace_id = $2 and m.state = 'waiting' and m.contact_id in (
  select w.contact_id from duly.campaign_member w
  where w.campaign_id = $1 and w.workspace_id = $2 and w.state = 'waiting' limit $3)
