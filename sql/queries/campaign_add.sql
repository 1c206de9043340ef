-- Adds people to a campaign. $1 workspace, $2 campaign, $3 a JSON array.
select "position", id, repeated, error from duly.campaign_add($1, $2, $3::text::jsonb)
