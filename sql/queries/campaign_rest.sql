-- Takes back what has come back to the queue of a campaign that is paused or canceled, until nothing of it is open.
-- $1 campaign, $2 workspace.
with turn as materialized (
  select c.id, c.workspace_id, c.name, c.state from duly.campaign c
  where c.id = $1 and c.workspace_id = $2 and c.restless and c.state in ('paused', 'canceled')
  for update skip locked
), taken as materialized (
  select t.*, duly.campaign_take_back(t.id, t.workspace_id, 'campaign ' || t.name || ' was ' || t.state) as back from turn t
)
update duly.campaign c
set restless = exists (
  select from duly.campaign_member m
  join duly.delivery_row d on d.id = m.delivery_id and d.workspace_id = m.workspace_id
  where m.campaign_id = $1 and m.workspace_id = $2 and m.state in ('queued', 'over')
    and d.state in ('queued', 'leased', 'sending', 'uncertain'))
from taken t
where c.id = t.id and c.workspace_id = t.workspace_id
