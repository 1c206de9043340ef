-- Puts an address, or all of a workspace, under a legal hold. $1 workspace, $2 who, $3 why, $4 channel, $5 address or null.
select duly.legal_hold_begin($1, $2, $3, $4, $5)
