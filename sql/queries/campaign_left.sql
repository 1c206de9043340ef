-- What is left of a campaign: how many are queued, whether any member waits whose variant was drawn, or for the winner.
-- $1 campaign, $2 workspace.
select (select count(*) from duly.campaign_member m
        where m.campaign_id = $1 and m.workspace_id = $2 and m.state = 'queued') as queued,
       exists (select from duly.campaign_member m
               where m.campaign_id = $1 and m.workspace_id = $2 and m.state = 'waiting' and (m.variant is null) = false) as drawn,
       exists (select from duly.campaign_member m
               where m.campaign_id = $1 and m.workspace_id = $2 and m.state = 'waiting' and (m.variant is null) = true) as rest
