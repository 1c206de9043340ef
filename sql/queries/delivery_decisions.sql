-- What people decided about a delivery. $1 id.
select decision, who, why, at from duly.decision where delivery_id = $1 order by id
