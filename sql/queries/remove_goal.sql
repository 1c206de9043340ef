-- Removes a goal; whether there was one. $1 workspace, $2 contact, $3 name.
select duly.remove_goal($1, $2, $3)
