-- Makes an account of the TOML known by name. $1 name, $2 platform.
insert into duly.account (name, platform) values ($1, $2)
on conflict (name) do update set platform = excluded.platform, seen_at = now()
