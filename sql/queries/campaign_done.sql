-- Ends a campaign of which nothing is left. $1 campaign, $2 workspace.
update duly.campaign c set state = 'done', ended_at = now(), moved_at = now() where c.id = $1 and c.workspace_id = $2
