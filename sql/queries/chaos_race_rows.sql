-- What the database says of each delivery of an opt-out race, for the verdict. $1 ids, $2 numbers of the plan, $3 to
-- whom, $4 seconds until due, as they were queued: of an erased person's the database knows them no more. `number` null:
-- an answer of Duly's own. `node`: which daemon leased it last, as long as the row remembers.
select d.id, q.number, m.category, coalesce(q."to", d."to") as "to", d.state::text as state, d.reason,
       d.created_at + make_interval(secs => q.due_seconds) as due_at, d.sending_at as marked_at,
       (d.lease_token >> 32)::int as node
from duly.delivery_row d
join duly.message m on m.id = d.message_id and m.workspace_id = d.workspace_id
left join unnest($1::uuid[], $2::int[], $3::text[], $4::float8[]) as q (id, number, "to", due_seconds) on q.id = d.id
