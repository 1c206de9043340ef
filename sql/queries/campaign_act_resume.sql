-- Goes on with a campaign. $1 workspace, $2 campaign.
select duly.campaign_resume($1, $2) as changed
