-- What must be known to heed a keyword. $1 workspace, $2 channel, $3 from whom, $4 its text, $5 the inbound message,
-- $6 its conversation. consent, category: the last word on record; answered, repeated: seconds since we last answered
-- this address, and since the same text came from it.
select k.key, n.state as consent, n.category,
       (select coalesce(array_agg(extract(epoch from now() - a.at)::float8), '{}') from duly.answer a
        where a.address_key = k.key and a.at > now() - interval '1 day') as answered,
       (select coalesce(array_agg(extract(epoch from now() - i.received_at)::float8), '{}') from duly.inbound i
        where i.conversation_id = $6 and i.received_at > now() - interval '5 minutes' and i.body = $4 and i.id <> $5) as repeated,
       c.locale
from (select duly.address_key($2, $3) as key) k
left join lateral (
  select n.state, n.category from duly.consent n
  where n.address_key = k.key and n.workspace_id = $1 and n.channel in ('', $2)
  order by n.at desc, n.recorded_at desc, n.id desc limit 1
) n on true
left join duly.address a on a.address_key = k.key and a.workspace_id = $1 and a.channel = $2
left join duly.contact c on c.id = a.contact_id and c.workspace_id = a.workspace_id
