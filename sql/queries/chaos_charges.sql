-- When each delivery of a chaos run was charged to a cap. $1 caps.
select c.by as delivery, u.cap, c.at from duly.cap_use u cross join unnest(u.at, u.by) c (at, by)
where u.cap = any ($1::text[])
