-- How somebody wants to be written to; null leaves a field as it is. $1 workspace, $2 contact, $3 enabled, $4 day, $5 time,
-- $6 on goal met, $7 on partial goal, $8 style, $9 channels, $10 priority. See duly.set_preference.
select duly.set_preference($1, $2, $3, $4, $5, $6, $7, $8, $9::text[], $10::int)
