-- Asks once more about what was left to a person only because an equal delivery was just as uncertain, where no
-- such delivery is left: a late callback or a person has settled it, so whose the messages are can be said now. Texts
-- that are sealed all count as equal here: then the asking itself finds out.
with decidable as (
  select r.id, r.workspace_id
  from duly.delivery_row r join duly.message m on m.id = r.message_id and m.workspace_id = r.workspace_id
  where r.state = 'uncertain' and r.ask_at is null and r.detail like 'an equal delivery is uncertain too%'
    and not exists (
      select from duly.delivery_row d join duly.message e on e.id = d.message_id and e.workspace_id = d.workspace_id
      where (d.state = 'uncertain' or d.state = 'sending' and d.node_id is not null) and d.address_key = r.address_key and e.body = m.body and d.id <> r.id)
  for update of r skip locked
)
update duly.delivery_row r
set ask_at = now()
from decidable
where r.id = decidable.id and r.workspace_id = decidable.workspace_id
