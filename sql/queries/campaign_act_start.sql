-- Begins a campaign. $1 workspace, $2 campaign.
select duly.campaign_start($1, $2) as changed
