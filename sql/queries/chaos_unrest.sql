-- What has not come to rest yet, oldest first: neither sent nor final nor left to a person. `ahead`: its time comes soon.
select d.id, d.state::text as state, d.reason, d.attempts, d.asks, d.ask_at, d.due_at, d.state_at, d.node_id,
       d.state = 'queued' and d.due_at > now() and d.due_at < now() + interval '10 minutes' as ahead
from duly.delivery_row d
where d.state in ('queued', 'leased', 'sending') or d.state = 'uncertain' and d.ask_at is not null
order by d.state_at
