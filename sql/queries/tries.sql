-- What a retry policy needs to know of deliveries that a callback says have failed. $1 ids.
select d.id, w.name as workspace, d.forgiven
from duly.delivery_row d join duly.workspace w on w.id = d.workspace_id
where d.id = any ($1::uuid[])
