-- When a delivery was wanted back, or put off, by whom and why, oldest first. $1 id.
select becomes::text as becomes, reason, due_at, who, at from duly.recall where delivery_id = $1 order by id
