-- Takes hand-overs that the platform is to be asked about, for this daemon alone for a minute: what is wanted back, and
-- what should have gone $3 seconds ago without a word since. What goes soonest comes first.
-- $1 accounts, $2 how many at most, $3 seconds.
with asked as (
  (select h.delivery_id, h.lease_token, h.workspace_id, h.send_at
   from (select distinct c.delivery_id from duly.recall c where not c.done) w
   join duly.handed_over h on h.delivery_id = w.delivery_id
   where h.ended_at is null and h.provider_id is not null and h.ask_at <= now() and h.account = any ($1::text[])
   order by h.send_at limit $2)
  union
  (select h.delivery_id, h.lease_token, h.workspace_id, h.send_at from duly.handed_over h
   where h.ended_at is null and h.provider_id is not null and h.ask_at <= now() and h.account = any ($1::text[])
     and h.send_at < now() - make_interval(secs => $3::float8)
   order by h.send_at limit $2)
), mine as (
  select h.delivery_id, h.lease_token, h.workspace_id from duly.handed_over h
  where (h.delivery_id, h.lease_token, h.workspace_id) in (
    select a.delivery_id, a.lease_token, a.workspace_id from asked a order by a.send_at limit $2)
    and h.ended_at is null and h.ask_at <= now()
  order by h.send_at
  for update skip locked
)
update duly.handed_over h
set ask_at = now() + interval '60 seconds', asks = least(h.asks + 1, 1000)
from mine join duly.delivery_row r on r.id = mine.delivery_id and r.workspace_id = mine.workspace_id
where h.delivery_id = mine.delivery_id and h.lease_token = mine.lease_token and h.workspace_id = mine.workspace_id
returning h.delivery_id, h.workspace_id, h.lease_token, h.account, h.provider_id, h.send_at, h.asks, r.attempts,
          r.lease_token = h.lease_token and r.state in ('sending', 'uncertain') as stands,
          exists (select from duly.recall c where c.delivery_id = h.delivery_id and not c.done) as wanted
