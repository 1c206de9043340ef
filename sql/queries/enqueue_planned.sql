-- Queues what was planned. $1 workspace id, $2 a JSON array of items. Answers how many have a delivery now and had none,
-- and how many were decided without. See duly.enqueue_planned.
select count(*) filter (where not repeated and id is not null) as planned,
       count(*) filter (where not repeated and id is null) as skipped
from duly.enqueue_planned($1, $2::text::jsonb)
