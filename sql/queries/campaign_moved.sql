-- Notes that a campaign was worked on. $1 campaign, $2 workspace, $3 when the next one may go.
update duly.campaign c set next_at = $3, moved_at = now() where c.id = $1 and c.workspace_id = $2
