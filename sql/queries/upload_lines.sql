-- Queues a chunk of an upload, and says which lines were refused. $1 upload, $2 the last line before it, $3 its last
-- line, $4 lines; then columns or nulls: $5 addresses, $6 texts, $7 due at, $8 priorities, $9 expires at, $10 keys,
-- $11 categories, $12 metadata as JSON, $13 URLs of media, $14 variables as JSON,
-- $15 the ids of the texts that were rendered.
-- The commit does not wait for the disk: what a crash of the server forgets, the upload's row forgets, too, and nothing
-- is sent before a mark's commit has waited. `upload_end` waits for all of it.
with unhurried as materialized (
  select set_config('synchronous_commit', 'off', true)
)
select line, error from unhurried cross join duly.upload_lines(
  $1, $2, $3, $4::bigint[], $5::text[], $6::text[], due_at => $7::timestamptz[], priority => $8::int[],
  expires_at => $9::timestamptz[], idempotency_key => $10::text[], category => $11::text[],
  metadata => $12::text[], media => $13::text[],
  variables => $14::text[], text_ids => $15::uuid[])
