-- What the platform sends within so many seconds and the rules have not been asked of again, with what keeps its
-- address from being written to. $1 accounts, $2 seconds, $3 how many at most.
select h.delivery_id as id, h.workspace_id, w.name as workspace, h.lease_token, h.channel, h.category, h.address_key,
       h.send_at, r."to", r.sealed as sealed_to, r.attempts, r.priority, r.segments, h.account,
       (select s.reason from duly.suppression s
        where s.address_key = h.address_key and s.workspace_id in (h.workspace_id, 0) and s.channel in ('', h.channel)
          and s.category in ('', h.category) and s.account in ('', h.account) limit 1) as stop
from duly.handed_over h
join duly.delivery_row r on r.id = h.delivery_id and r.workspace_id = h.workspace_id and r.lease_token = h.lease_token
join duly.workspace w on w.id = h.workspace_id
where h.ended_at is null and h.looked_at is null and h.account = any ($1::text[])
  and h.send_at between now() and now() + make_interval(secs => $2::float8)
  and r.state in ('sending', 'uncertain')
order by h.send_at
limit $3
