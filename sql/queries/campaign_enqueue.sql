-- Queues what was planned and rendered. $1 workspace, $2 a JSON array.
select "position", id, repeated, error from duly.enqueue_planned($1, $2::text::jsonb)
