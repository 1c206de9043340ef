-- Notes that versions of templates are used, and so never changed. $1 workspace, $2 their ids.
update duly.template t set used_at = now() where t.workspace_id = $1 and t.id = any ($2::uuid[]) and t.used_at is null
