-- Takes the turn to spread an account, or keeps it: $1 account, $2 token, $3 for how many seconds. No row: another's.
insert into duly.spreading as s (account, token, until)
values ($1, $2, now() + make_interval(secs => $3::float8))
on conflict (account) do update
set token = excluded.token, until = excluded.until, unfinished = true,
    begun_at = case when s.token = excluded.token then s.begun_at else now() end
where s.until < now() or s.token = excluded.token
returning now() as now
