-- How far a campaign is. $1 workspace, $2 campaign.
select duly.campaign_progress($1, $2)::text as progress
