-- Whose an inbound message is, as in inbound.sql, and whether that workspace seals. $1 account, $2 channel, $3 from whom,
-- $4 the workspace that owns the number, or null.
select owner.workspace_id, owner.key::text as address_key, coalesce(w.seal, false) as seal
from (
  select coalesce($4::int, (
    select a.workspace_id from duly.attempt a
    where a.address_key = k.key and a.account = $1
    order by a.began_at desc limit 1
  ), 0) as workspace_id, k.key
  from (select duly.address_key($2::text, $3) as key) k
) owner
left join duly.workspace w on w.id = owner.workspace_id
