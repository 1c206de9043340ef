-- One delivery with all but its text. $1 id.
select d.id, d.workspace_id, w.name as workspace, d.channel::text as channel, d.sealed,
       duly.shown(d."to", d.sealed) as "to", d.state::text as state, d.reason, d.detail,
       d.priority, m.category, d.segments, d.attempts, d.account, d.provider_id, d.due_at,
       coalesce(d.planned_for, d.due_at) as planned_for, d.expires_at,
       d.created_at, d.state_at, d.sent_at, d.delivered_at
from duly.delivery_row d
join duly.workspace w on w.id = d.workspace_id
join duly.message m on m.id = d.message_id and m.workspace_id = d.workspace_id
where d.id = $1
