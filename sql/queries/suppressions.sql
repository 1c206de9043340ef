-- What forbids to write to an address: a workspace's own suppressions and those of all (workspace null). An empty
-- channel, category or account means all. $1 workspace, $2 channel, $3 address.
select w.name as workspace, s.channel, s.category, s.account, s.reason, s.source, s.at
from duly.suppression s
left join duly.workspace w on w.id = s.workspace_id
where s.address_key = duly.address_key($2, $3) and s.channel in ('', $2)
  and s.workspace_id in (0, coalesce((select k.id from duly.workspace k where k.name = $1), 0))
order by s.at, s.reason, s.channel, s.category, s.account
