-- The other deliveries to the same address that nobody can place yet either, where the text is equal or sealed.
-- What a platform has for later is placed.
-- $1 delivery, $2 address key, $3 text.
select d.workspace_id, m.id::text as message_id, m.sealed
from duly.delivery_row d
join duly.message m on m.id = d.message_id and m.workspace_id = d.workspace_id
where (d.state = 'uncertain' or d.state = 'sending' and d.node_id is not null) and d.address_key = $2 and (m.body = $3 or m.sealed is not null) and d.id <> $1
