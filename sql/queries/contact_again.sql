-- Takes an address off a do-not-contact list. $1 workspace, or null for the list of all, $2 channel, $3 address,
-- $4 category.
select duly.contact_again($1, $2, $3, $4)
