-- What readers see, and who may do what.

create view duly.delivery with (security_barrier) as
select d.id, w.name as workspace, d.channel::text as channel, d."to", d.state::text as state, d.reason,
       d.due_at, d.priority, d.attempts, a.platform, d.provider_id, d.created_at, d.sent_at, d.delivered_at,
       d.expires_at, d.account, d.segments, d.message_id, d.state_at
from duly.delivery_row d
join duly.workspace w on w.id = d.workspace_id
left join duly.account a on a.name = d.account
where d.workspace_id = any (array(select duly.visible_workspaces()));

revoke all on all functions in schema duly from public;
revoke all on schema duly from public;

grant usage on schema duly to duly_daemon, duly_producer, duly_reader;

grant select on duly.delivery to duly_daemon, duly_producer, duly_reader;
-- The view asks these two in the reader's name.
grant execute on function duly.visible_workspaces(), duly.caller() to duly_daemon, duly_producer, duly_reader;

grant execute on function
  duly.enqueue(text, text, text, text, timestamptz, integer, text, text, timestamptz, text, jsonb, jsonb),
  duly.enqueue_batch(jsonb), duly.cancel(uuid)
  to duly_producer, duly_daemon;

-- The daemon moves rows; it cannot remove any but the remembered contents and dead nodes, nor change the schema.
grant execute on function
  duly.register_workspace(text, interval), duly.segments(text), duly.first_id_at(timestamptz), duly.new_id()
  to duly_daemon;
grant select on all tables in schema duly to duly_daemon;
grant insert on duly.account, duly.node, duly.attempt, duly.callback, duly.conversation, duly.inbound to duly_daemon;
grant update on duly.account, duly.node, duly.delivery_row, duly.conversation to duly_daemon;
grant delete on duly.node, duly.recent_content to duly_daemon;
grant usage on all sequences in schema duly to duly_daemon;
