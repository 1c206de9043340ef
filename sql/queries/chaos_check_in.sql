-- Makes the check-ins of a chaos run. $1 workspace, $2 enabled.
select duly.put_check_in($1, 'check-in', later => interval '1 hour', enabled => $2)
