-- Puts addresses on a do-not-contact list. $1 workspace, or null for the list of all, $2 a JSON array, $3 whether to end
-- what waits for them now.
select "position", added, skipped, error from duly.do_not_contact_batch($1, $2::text::jsonb, $3)
