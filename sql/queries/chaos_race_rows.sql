-- What the database says of each delivery of an opt-out race, for the verdict. `number`: of the plan; null: an answer
-- of Duly's own. `node`: which daemon leased it last, as long as the row remembers.
select d.id, (m.metadata ->> 'chaos')::int as number, m.category, d."to", d.state::text as state, d.reason,
       d.created_at + make_interval(secs => (m.metadata ->> 'due_seconds')::float8) as due_at,
       d.sending_at as marked_at, (d.lease_token >> 32)::int as node
from duly.delivery_row d
join duly.message m on m.id = d.message_id and m.workspace_id = d.workspace_id
