-- Ends what waited too long, also where its lane does not move. $1 how many at most.
with late as (
  select id, workspace_id from duly.delivery_row
  where state = 'queued' and expires_at <= now()
  order by expires_at limit $1
  for update skip locked
)
update duly.delivery_row r
set state = 'expired', reason = 'expired', state_at = now()
from late
where r.id = late.id and r.workspace_id = late.workspace_id
returning 1
