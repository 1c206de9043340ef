-- Series that cannot be planned.
select w.name as workspace, s.name, s.problem
from duly.series s join duly.workspace w on w.id = s.workspace_id
where s.problem is not null and s.enabled
order by w.name, s.name limit 20
