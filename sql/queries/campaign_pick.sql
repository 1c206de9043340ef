-- Decides what the rest of a campaign gets. $1 workspace, $2 campaign, $3 variant, $4 why, as JSON.
select duly.campaign_pick($1, $2, $3, $4::text::jsonb) as picked
