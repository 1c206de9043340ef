-- How far the gathering of a campaign is. $1 campaign, $2 workspace, $3 the last contact, $4 whether that was all.
update duly.campaign c
set last_contact = coalesce($3, c.last_contact), gathered_at = case when $4 then now() end, moved_at = now()
where c.id = $1 and c.workspace_id = $2
