-- Puts an address on a do-not-contact list. $1 workspace, or null for the list of all; $2 address.
select duly.do_not_contact($1, 'sms', $2)
