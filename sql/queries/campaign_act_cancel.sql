-- Ends a campaign. $1 workspace, $2 campaign.
select duly.campaign_cancel($1, $2) as taken_back
