-- People's check-ins have been planned again. $1 workspace id, $2 contacts.
delete from duly.plan_again a where a.workspace_id = $1 and a.contact_id = any ($2::uuid[])
