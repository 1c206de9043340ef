-- A workspace's id. $1 name.
select id from duly.workspace where name = $1
