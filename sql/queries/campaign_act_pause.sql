-- Pauses a campaign. $1 workspace, $2 campaign.
select duly.campaign_pause($1, $2) as taken_back
