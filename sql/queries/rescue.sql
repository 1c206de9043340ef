-- Takes over from nodes whose time has run out: what they had only leased is queued again; what they may
-- have been sending is uncertain, with its token kept so that their own late word can still settle it.
-- $1 how many at most.
with held as (
  select r.id, r.workspace_id from duly.delivery_row r
  join duly.node n on n.id = r.node_id and n.alive_until <= now()
  where r.state in ('leased', 'sending')
  limit $1
  for update of r skip locked
)
update duly.delivery_row r
set state = (case r.state when 'leased' then 'queued' else 'uncertain' end)::duly.state,
    reason = case r.state when 'leased' then r.reason else 'daemon_lost' end,
    lease_token = case r.state when 'leased' then null else r.lease_token end,
    ask_at = case r.state when 'leased' then r.ask_at else now() + interval '2 seconds' end, asks = 0,
    node_id = null, state_at = now()
from held
where r.id = held.id and r.workspace_id = held.workspace_id
returning r.state::text as state
