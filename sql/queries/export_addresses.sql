-- A person's addresses, as their contacts have them. $1 workspace id, $2 contacts. sealed_KIND, identity_KIND: of what
-- must be opened first, here and in the other exports.
select a.contact_id, a.channel, a.address, a.verified_at, a.own, a.created_at,
       a.sealed as sealed_address, a.address_key || ' ' || a.channel as identity_address
from duly.address a
where a.workspace_id = $1 and a.contact_id = any ($2::uuid[])
order by a.created_at, a.channel
