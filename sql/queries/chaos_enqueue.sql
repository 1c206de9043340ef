-- Queues a planned message of a chaos run; the plan's number and delay go with it, for the verdict.
-- $1 workspace, $2 address, $3 text, $4 seconds until due, $5 priority, $6 idempotency key, $7 seconds until it
-- expires or null, $8 the plan's number, $9 category.
select duly.enqueue($1, 'sms', $2, $3, due_at => now() + make_interval(secs => $4::float8), priority => $5::int,
                    idempotency_key => $6, expires_at => now() + make_interval(secs => $7::float8), category => $9,
                    metadata => jsonb_build_object('chaos', $8::int, 'due_seconds', $4::float8))
