-- Says that a workspace has been checked, or no more. $1 workspace, $2 whether, $3 who, $4 why.
select duly.set_verified($1, $2, $3, $4)
