-- What has not come to rest yet, oldest first: neither sent nor final nor left to a person.
select d.id, d.state::text as state, d.reason, d.attempts, d.asks, d.ask_at, d.due_at, d.state_at, d.node_id
from duly.delivery_row d
where d.state in ('queued', 'leased', 'sending') or d.state = 'uncertain' and d.ask_at is not null
order by d.state_at
