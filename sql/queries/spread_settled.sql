-- Marks what needs no spreading any more: it is sent, canceled, tried, put off or moved by a person. $1 workspaces,
-- $2 channels.
update duly.planned p set spread_at = now()
from duly.delivery_row d, unnest($1::int[], $2::text[]) as lane (workspace_id, channel)
where p.spread_at is null and p.delivery_id = d.id and p.workspace_id = d.workspace_id
  and d.workspace_id = lane.workspace_id and d.channel = lane.channel::duly.channel
  and d.state <> 'leased' and not duly.may_be_spread(d, p)
