-- Takes back what has come back to the queue of a campaign that is paused or canceled, and whether more may soon.
-- $1 campaign, $2 workspace.
with turn as materialized (
  select c as campaign from duly.campaign c
  where c.id = $1 and c.workspace_id = $2 and c.restless and c.state in ('paused', 'canceled')
  for update skip locked
)
select duly.campaign_take_back(t.campaign, false) as taken_back,
       exists (select from duly.campaign_member m
               join duly.delivery_row d on d.id = m.delivery_id and d.workspace_id = m.workspace_id
               where m.campaign_id = $1 and m.workspace_id = $2 and m.state = 'queued'
                 and d.state in ('queued', 'leased', 'sending', 'uncertain')) as open
from turn t
