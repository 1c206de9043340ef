-- Erases a person. $1 workspace, $2 who, $3 why, $4 channel, $5 address or null, $6 contact or null.
select duly.erase($1, $2, $3, $4, $5, $6)::text
