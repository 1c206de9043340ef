-- A workspace's id, and whether it seals. $1 name.
select w.id, w.seal from duly.workspace w where w.name = $1
