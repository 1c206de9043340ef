-- Makes a daemon known. $1 name, $2 version, $3 lease seconds. Also says how many others live.
insert into duly.node (name, version, alive_until)
values ($1, $2, now() + make_interval(secs => $3))
returning id, (select count(*)::int from duly.node where alive_until > now()) as others
