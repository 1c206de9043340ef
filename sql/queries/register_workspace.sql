-- Makes a workspace of the TOML known. $1 name, $2 duplicate window in seconds, 0 for none.
select duly.register_workspace($1, nullif(make_interval(secs => $2::float8), interval '0'))
