-- Begins an upload, or finds it. $1 workspace, $2 key, $3 digest, $4 channel, $5 the one text of all or null,
-- $6 due at or null, $7 priority, $8 category, $9 expires at or null, $10 metadata as JSON,
-- $11 the template of all, or null.
select id, line_done, queued, pinned from duly.upload_begin($1, $2, $3, $4, $5, $6, $7::int, $8, $9, $10::text::jsonb, $11)
