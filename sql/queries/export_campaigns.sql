-- The campaigns that a person is in, and what they did. $1 workspace id, $2 contacts.
select m.contact_id, c.name as campaign, m.variables::text as variables_json, m.channel, m.variant, m.state, m.reason,
       m.due_at, m.sent_at, m.delivery_id,
       (select coalesce(jsonb_agg(jsonb_build_object('kind', e.kind, 'key', e.key, 'at', e.at) order by e.at), '[]')::text
        from duly.campaign_event e
        where e.campaign_id = m.campaign_id and e.contact_id = m.contact_id and e.workspace_id = m.workspace_id) as events_json
from duly.campaign_member m join duly.campaign c on c.id = m.campaign_id and c.workspace_id = m.workspace_id
where m.workspace_id = $1 and m.contact_id = any ($2::uuid[])
order by c.created_at, c.name
