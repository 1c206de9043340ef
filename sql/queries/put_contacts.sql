-- Puts contacts in. $1 workspace, $2 a JSON array.
select "position", id, change, error from duly.put_contacts($1, $2::text::jsonb)
