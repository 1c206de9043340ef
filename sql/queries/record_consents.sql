-- Records consent. $1 workspace, $2 a JSON array.
select "position", id, state, repeated, skipped, error from duly.record_consents($1, $2::text::jsonb)
