-- What a person has written, to this workspace or to nobody's number, oldest first. $1 workspace id, $2 address keys.
select i.id, i.conversation_id, i.channel::text as channel, i.account, i.provider_id, i.from_address, i.to_address, i.body,
       to_json(i.media_urls)::text as media_urls_json, i.opt_out_type, i.received_at, i.sealed as sealed_inbound,
       i.id::text as identity_inbound
from duly.conversation k
join duly.inbound i on i.conversation_id = k.id and i.workspace_id = k.workspace_id
where k.address_key = any ($2::uuid[]) and k.workspace_id in ($1, 0)
order by i.received_at, i.id
