-- Dead letters by workspace, state and reason. $1 workspace, $2 reason, $3 since, $4 until, $5 ids; null: any.
select workspace_name as workspace, state::text as state, reason_code as reason, count(*) as count,
       min(at) as oldest, max(at) as newest
from duly.dead_letters($1, $2, $3, $4, $5)
group by 1, 2, 3 order by count(*) desc, 1, 3
