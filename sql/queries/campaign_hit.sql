-- Notes what a member did. $1 workspace, $2 campaign, $3 contact, $4 kind, $5 key, $6 when, or null for now.
select duly.campaign_hit($1, $2, $3, $4, $5, coalesce($6::timestamptz, now())) as noted
