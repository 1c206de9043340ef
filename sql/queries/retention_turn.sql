-- Takes the turn to remove what is old, where nobody has for $1 seconds; says when that was. No row: not yet.
update duly.retention r set pass_at = now()
from (select pass_at from duly.retention for update) before
where before.pass_at < now() - make_interval(secs => $1::float8)
returning nullif(before.pass_at, '-infinity') as since
