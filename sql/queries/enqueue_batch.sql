-- Queues what the API was given. $1 a JSON array.
select "position", id, error from duly.enqueue_batch($1::text::jsonb)
