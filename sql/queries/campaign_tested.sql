-- Notes that the whole test part is queued. $1 campaign, $2 workspace.
update duly.campaign c set tested_at = now() where c.id = $1 and c.workspace_id = $2 and c.tested_at is null
