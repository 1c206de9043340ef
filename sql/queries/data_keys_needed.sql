-- Which data keys there are, and of which workspaces.
select k.workspace_id, w.name as workspace, k.generation, k.wrapped, k.wrapped_by
from duly.data_key k join duly.workspace w on w.id = k.workspace_id
order by k.wrapped_by, w.name, k.generation
