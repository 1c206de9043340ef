-- What became of waiting members. $1 campaign, $2 workspace, $3 contacts, $4 states, $5 reasons, $6 deliveries, $7 due times,
-- $8 variants.
update duly.campaign_member m
set state = f.state, reason = f.reason, delivery_id = f.delivery, due_at = f.due_at, variant = coalesce(m.variant, f.variant)
from unnest($3::uuid[], $4::text[], $5::text[], $6::uuid[], $7::timestamptz[], $8::text[])
  as f (contact, state, reason, delivery, due_at, variant)
where m.campaign_id = $1 and m.workspace_id = $2 and m.contact_id = f.contact and m.state = 'waiting'
