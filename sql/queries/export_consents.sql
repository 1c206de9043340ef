-- What a person has said of being written to, oldest first. $1 workspace id, $2 address keys.
select n.id, n.channel, n.category, n.account, n.state, n.source, n.words, n.proof::text as proof_json, n.who, n.at,
       n.recorded_at
from duly.consent n
where n.address_key = any ($2::uuid[]) and n.workspace_id in ($1, 0)
order by n.at, n.id
