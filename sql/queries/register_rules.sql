-- Makes the TOML's rules known. $1 workspace → its rules, as JSON.
select duly.register_rules($1::text::jsonb)
