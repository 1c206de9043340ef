-- Queues what was given over HTTP or by a command. $1 a JSON array, $2 what was rendered of their templates, at their
-- places; see duly.enqueue_rendered.
select "position", id, error from duly.enqueue_rendered($1::text::jsonb, $2::text::jsonb)
