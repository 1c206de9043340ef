-- What was said of consent for an address, oldest first. $1 workspace, $2 channel, $3 address.
select c.id, c.channel, c.category, c.account, c.state, c.source, c.words, c.proof::text as proof, c.who, c.at, c.recorded_at
from duly.consent c
join duly.workspace w on w.id = c.workspace_id
where w.name = $1 and c.address_key = duly.address_key($2, $3) and c.channel in ('', $2)
order by c.at, c.recorded_at, c.id
