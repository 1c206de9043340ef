-- A delivery's text, for those who may see it, with what was stored beside it. $1 id.
select m.workspace_id, m.id::text as message_id, m.sealed, m.body, m.metadata -> 'media_urls' as media_urls
from duly.delivery_row d
join duly.message m on m.id = d.message_id and m.workspace_id = d.workspace_id
where d.id = $1
