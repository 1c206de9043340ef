-- Removes a version of a template that was never used. $1 workspace, $2 name@version, or name for the newest.
select duly.delete_template($1, $2)
