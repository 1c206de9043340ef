-- Everything that was sent or was to be sent to a person, with what became of it. $1 workspace id, $2 address keys.
select d.id, d.channel::text as channel, d."to", d.state::text as state, d.reason, d.detail, d.priority, d.segments,
       d.attempts as calls, d.account, d.provider_id, d.due_at, d.expires_at, d.created_at, d.state_at, d.sent_at,
       d.delivered_at, m.category, m.template, m.idempotency_key, m.body, m.variables::text as variables_json,
       m.metadata::text as metadata_json, d.sealed as sealed_delivery, d.id::text as identity_delivery,
       m.sealed as sealed_message, m.id::text as identity_message,
       (select coalesce(jsonb_agg(jsonb_build_object(
          'number', a.number, 'account', a.account, 'outcome', a.outcome, 'reason', a.reason, 'provider_id', a.provider_id,
          'http_status', a.http_status, 'code', a.code, 'detail', a.detail, 'rulings', a.rulings, 'began_at', a.began_at,
          'took_ms', a.took_ms) order by a.began_at), '[]')::text
        from duly.attempt a where a.delivery_id = d.id and a.workspace_id = d.workspace_id) as attempts_json,
       (select coalesce(jsonb_agg(jsonb_build_object(
          'attempt', c.attempt, 'account', c.account, 'provider_id', c.provider_id, 'status', c.provider_status,
          'code', c.code, 'moved', c.moved, 'received_at', c.received_at) order by c.id), '[]')::text
        from duly.callback c where c.delivery_id = d.id and c.workspace_id = d.workspace_id) as callbacks_json,
       (select coalesce(jsonb_agg(jsonb_build_object(
          'stage', r.stage, 'became', r.became, 'until', r.until, 'rulings', r.rulings, 'at', r.at) order by r.id), '[]')::text
        from duly.ruling r where r.delivery_id = d.id and r.workspace_id = d.workspace_id) as rulings_json,
       (select coalesce(jsonb_agg(jsonb_build_object(
          'answer', r.answer, 'became', r.became, 'detail', r.detail, 'at', r.at) order by r.at), '[]')::text
        from duly.resolution r where r.delivery_id = d.id and r.workspace_id = d.workspace_id) as resolutions_json,
       (select coalesce(jsonb_agg(jsonb_build_object(
          'decision', p.decision, 'who', p.who, 'why', p.why, 'at', p.at) order by p.id), '[]')::text
        from duly.decision p where p.delivery_id = d.id and p.workspace_id = d.workspace_id) as decisions_json,
       (select coalesce(jsonb_agg(jsonb_build_object(
          'kind', r.kind, 'times', r.times, 'first_at', r.first_at, 'last_at', r.last_at) order by r.first_at), '[]')::text
        from duly.response r where r.delivery_id = d.id and r.workspace_id = d.workspace_id) as responses_json,
       coalesce((select jsonb_build_object('helpful', f.helpful, 'via', f.via, 'at', f.at)::text
                 from duly.feedback f where f.delivery_id = d.id and f.workspace_id = d.workspace_id), 'null') as feedback_json
from duly.deliveries_to($1, $2) as t (id)
join duly.delivery_row d on d.id = t.id and d.workspace_id = $1
join duly.message m on m.id = d.message_id and m.workspace_id = d.workspace_id
order by d.id
