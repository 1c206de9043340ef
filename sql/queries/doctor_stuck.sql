-- What does not move, by kind: how many, since when, and the ids of a few. `held` by a daemon that is dead, or
-- for longer than two leases; `waiting`: queued and overdue for more than five minutes, by workspace and
-- channel; `uncertain` and `undecided`: asked about for long, or left to a person; `silent`: handed over
-- to a platform, its time a quarter of an hour ago, and nothing heard. Reads only such rows, by
-- their partial indexes. $1 lease seconds, $2 seconds after which an uncertain one should be settled.
with held as (
  select d.id, case when n.alive_until > now() then 'held' else 'orphaned' end as kind, d.state_at as since,
         null::int as workspace_id, null::text as channel
  from duly.delivery_row d left join duly.node n on n.id = d.node_id
  where d.node_id is not null and d.state in ('leased', 'sending') and d.state_at < now() - make_interval(secs => 2 * $1::float8)
), waiting as (
  select d.id, 'waiting', d.due_at, d.workspace_id, d.channel::text
  from duly.delivery_row d
  where d.state = 'queued' and d.due_at < now() - interval '5 minutes'
), uncertain as (
  select d.id, case when d.ask_at is null then 'undecided' when d.state_at < now() - make_interval(secs => $2::float8)
                    then 'uncertain' else 'asked' end,
         d.state_at, null::int, null::text
  from duly.delivery_row d
  where d.state = 'uncertain'
), silent as (
  select h.delivery_id, 'silent', h.send_at, null::int, null::text
  from duly.handed_over h
  where h.ended_at is null and h.send_at < now() - interval '15 minutes'
), found as (
  select * from held union all select * from waiting union all select * from uncertain union all select * from silent
)
select f.kind, w.name as workspace, f.channel, count(*) as total, min(f.since) as since,
       (array_agg(f.id::text order by f.since))[1:3] as ids
from found f left join duly.workspace w on w.id = f.workspace_id
group by 1, 2, 3
order by 1, 2, 3
