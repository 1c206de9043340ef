-- What the database says of each delivery of a chaos run, for the verdict.
select d.id, (m.metadata ->> 'chaos')::int as number, d.state::text as state, d.reason,
       -- A retry moves due_at; this is what was asked for, to the microsecond.
       d.created_at + make_interval(secs => (m.metadata ->> 'due_seconds')::float8) as due_at,
       d.expires_at is not null as may_expire,
       d.state = 'uncertain' and d.ask_at is null as held,
       d.state = 'uncertain' or d.reason = 'daemon_lost'
         or exists (select from duly.attempt a where a.delivery_id = d.id and a.outcome = 'unknown')
         or exists (select from duly.resolution r where r.delivery_id = d.id)
         or exists (select from duly.callback c where c.delivery_id = d.id and c.from_state = 'uncertain')
         as was_uncertain,
       exists (select from duly.attempt a where a.delivery_id = d.id and a.outcome = 'rejected'
               and (a.code is not null or a.http_status is not null))
         or exists (select from duly.callback c where c.delivery_id = d.id and c.code is not null) as refused
from duly.delivery_row d
join duly.message m on m.id = d.message_id and m.workspace_id = d.workspace_id
