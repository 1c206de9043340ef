-- Under which contacts and keys a person is known. $1 workspace, $2 channel, $3 address or null, $4 contact or null.
-- No row where there is no such workspace.
select w.id as workspace_id, p.contacts, p.keys from duly.workspace w cross join duly.person(w.id, $2, $3, $4) p
where w.name = $1
