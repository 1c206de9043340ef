-- Segments of these limits' windows. $1 keys, $2 most, $3 seconds of a slot, $4 least, $5 wanted, $6 the slot of
-- what comes back, $7 how much of it: see duly.take_quota.
select key, given, slot, ends, used, again, at from duly.take_quota($1, $2, $3, $4, $5, $6, $7)
