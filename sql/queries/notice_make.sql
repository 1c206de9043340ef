-- Remembers whom to tell that a delivery was given up, if it was. $1 delivery, $2 reason, $3 URL.
insert into duly.notice (workspace_id, delivery_id, reason, url)
select d.workspace_id, d.id, $2, $3 from duly.delivery_row d where d.id = $1 and d.state = 'failed'
