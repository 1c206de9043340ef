-- Makes a workspace of the TOML known. $1 name, $2 duplicate window in seconds, 0 for none, $3 footers by language as
-- JSON, $4 the categories that get them, $5 whether a form's yes waits for the person's own.
select duly.register_workspace($1, nullif(make_interval(secs => $2::float8), interval '0'), $3::text::jsonb, $4::text[], $5)
