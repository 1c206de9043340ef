-- One delivery with all but what it says; of a template which of its texts. $1 id.
select d.id, d.workspace_id, w.name as workspace, d.channel::text as channel, d.sealed,
       duly.shown(d."to", d.sealed) as "to", d.state::text as state, d.reason, d.detail,
       d.priority, m.category, d.segments, d.attempts, d.account, d.provider_id, d.due_at,
       coalesce(d.planned_for, d.due_at) as planned_for, d.expires_at,
       d.created_at, d.state_at, d.sent_at, d.delivered_at, m.template, m.text_id,
       x.channel as text_channel, x.language as text_language, x.style as text_style, x.number as text_number
from duly.delivery_row d
join duly.workspace w on w.id = d.workspace_id
join duly.message m on m.id = d.message_id and m.workspace_id = d.workspace_id
left join duly.template_text x on x.id = m.text_id and x.workspace_id = d.workspace_id
where d.id = $1
