-- What daemons hold and what waits for the platform's word, by workspace and account, and what platforms have for later
-- (handed_over); `stuck` is held for
-- longer than two leases, `undecided` waits for a person. Reads only such rows, by their partial indexes.
-- $1 lease seconds.
select d.workspace_id, d.account, d.state::text as state, count(*) as total,
       count(*) filter (where d.state_at < now() - make_interval(secs => 2 * $1::float8)) as stuck,
       0::bigint as undecided
from duly.delivery_row d
where d.node_id is not null and d.state in ('leased', 'sending')
group by 1, 2, 3
union all
select h.workspace_id, h.account, 'handed_over', count(*), 0, 0
from duly.handed_over h
where h.ended_at is null and h.provider_id is not null
group by 1, 2
union all
select d.workspace_id, d.account, 'uncertain', count(*), 0, count(*) filter (where d.ask_at is null)
from duly.delivery_row d
where d.state = 'uncertain'
group by 1, 2
