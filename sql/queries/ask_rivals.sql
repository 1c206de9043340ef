-- How many other deliveries with the same text to the same address nobody can place yet either.
-- $1 delivery, $2 address, $3 text.
select count(*)::int as rivals
from duly.delivery_row d
join duly.message m on m.id = d.message_id and m.workspace_id = d.workspace_id
where d.state in ('uncertain', 'sending') and d."to" = $2 and m.body = $3 and d.id <> $1
