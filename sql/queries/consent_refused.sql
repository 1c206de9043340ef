-- The platform says that this delivery's address has opted out. $1 delivery, $2 its account, $3 whether the opt-out
-- holds for all that write by the account, $4 the platform's code.
select duly.consent_recorded(
  case when $3 then 0 else d.workspace_id end, d.address_key, d.channel::text, '', case when $3 then $2 else '' end,
  'withdrawn', 'provider', null, jsonb_build_object('account', $2::text, 'code', $4::text, 'delivery', d.id), 'duly', now())
from duly.delivery_row d
where d.id = $1 and not exists (
  select from duly.suppression s
  where s.address_key = d.address_key and s.workspace_id = case when $3 then 0 else d.workspace_id end
    and s.channel in ('', d.channel::text) and s.category = '' and s.reason = 'opted_out')
