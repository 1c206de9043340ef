-- Makes a goal or changes it; null leaves a field as it is. $1 workspace, $2 contact, $3 name, $4 target, $5 unit, $6 period,
-- $7 its first day, $8 its last. See duly.set_goal.
select duly.set_goal($1, $2, $3, $4::numeric, $5, $6, $7::date, $8::date)
