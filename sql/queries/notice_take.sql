-- Takes notices whose time has come; those not told within a minute come again. $1 how many at most.
with due as (
  select id from duly.notice where tell_at <= now() order by tell_at limit $1 for update skip locked
)
update duly.notice n
set tries = n.tries + 1, tell_at = now() + make_interval(secs => least(3600, 60 * 2 ^ least(n.tries, 6)))
from due, duly.workspace w
where n.id = due.id and w.id = n.workspace_id
returning n.id, n.delivery_id, n.reason, n.url, n.made_at, n.tries, w.name as workspace
