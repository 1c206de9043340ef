-- Why a person is not written to. $1 workspace id, $2 address keys.
select s.channel, s.category, s.account, s.reason, s.source, s.at, s.workspace_id = 0 as everywhere
from duly.suppression s
where s.address_key = any ($2::uuid[]) and s.workspace_id in ($1, 0)
order by s.at
