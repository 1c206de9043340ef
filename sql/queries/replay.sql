-- Sends dead letters again. $1 who, $2 why, $3 workspace, $4 reason, $5 since, $6 until, $7 ids; null: any.
select duly.replay($1, $2, $3, $4, $5, $6, $7)
