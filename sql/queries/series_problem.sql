-- Notes why a series cannot be planned. $1 series, $2 workspace id, $3 the problem.
update duly.series s set problem = $3
where s.id = $1 and s.workspace_id = $2 and s.problem is distinct from $3
