-- Makes links. $1 workspace, $2 tokens, $3 targets, $4 the same sealed, $5 days until they expire, $6 the delivery that says
-- them, or null: it is queued next, and names them in its metadata.
insert into duly.link (token, workspace_id, target, sealed, expires_at, delivery_id)
select n.token, $1::int, n.target, n.sealed, now() + make_interval(days => $5::int), $6::uuid
from unnest($2::text[], $3::text[], $4::bytea[]) n (token, target, sealed)
