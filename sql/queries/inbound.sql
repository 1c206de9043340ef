-- Stores one inbound message with its conversation. The same message posted twice is stored once.
-- The workspace is the one that owns the number it was sent to ($10, where the TOML says so), else the one
-- that wrote to this person last through this account, else 0: nobody's.
-- $1 account, $2 provider id, $3 channel, $4 from, $5 to, $6 body, $7 media, $8 opt-out type, $9 new id; where it is
-- sealed $11 the message and $12 its address, and $13 with which data key: then nothing is stored in clear.
with owner as (
  select coalesce($10::int, (
    select a.workspace_id from duly.attempt a
    where a.address_key = k.key and a.account = $1
    order by a.began_at desc limit 1
  ), 0) as workspace_id, k.key
  from (select duly.address_key($3::text, $4) as key) k
), conversation as (
  insert into duly.conversation as k (id, workspace_id, channel, address, address_key, sealed, sealed_with)
  select duly.new_id(), owner.workspace_id, $3::text::duly.channel, case when $12::bytea is null then $4 else '' end,
         owner.key, $12, $13::smallint
  from owner
  where not exists (select from duly.inbound i where i.account = $1 and i.provider_id = $2)
  on conflict (workspace_id, channel, address_key) do update set last_inbound_at = now()
  returning k.id, k.workspace_id
)
insert into duly.inbound
  (id, workspace_id, conversation_id, account, provider_id, channel, from_address, to_address, body, media_urls, opt_out_type,
   sealed, sealed_with)
select $9, k.workspace_id, k.id, $1, $2, $3::text::duly.channel, case when $11::bytea is null then $4 else '' end, $5,
       case when $11 is null then $6 else '' end, case when $11 is null then $7::text[] else '{}' end, $8, $11, $13
from conversation k
on conflict (account, provider_id, workspace_id) do nothing
returning id, workspace_id, conversation_id, (select w.name from duly.workspace w where w.id = inbound.workspace_id) as workspace
