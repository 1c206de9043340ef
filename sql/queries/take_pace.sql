-- The next pieces of these limits' time. $1 keys, $2 segments a second, $3 reach, $4 least, $5 wanted, all in
-- seconds, as are $6 slice, $7 settle, $8 horizon: see duly.take_pace.
select key, given_from, given_until, taken_until, at from duly.take_pace($1, $2, $3, $4, $5, $6, $7, $8)
