-- Puts dead letters aside. $1 who, $2 why, $3 workspace, $4 reason, $5 since, $6 until, $7 ids; null: any.
select duly.dismiss($1, $2, $3, $4, $5, $6, $7)
