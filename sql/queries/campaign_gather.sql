-- Writes members down; who was added gets what is said here, and who is a member already stays as they are. $1 campaign,
-- $2 workspace, $3 contacts, $4 channels, $5 address keys, $6 variants, $7 whether drawn, $8 reasons to skip, $9 wall-clock
-- times, $10 due times.
insert into duly.campaign_member as m
  (campaign_id, workspace_id, contact_id, channel, address_key, variant, tested, state, reason, wall_at, due_at)
select $1, $2, g.contact, g.channel, g.key, g.variant, g.tested,
       case when g.reason is null then 'waiting' else 'skipped' end, g.reason, g.wall_at, g.due_at
from unnest($3::uuid[], $4::text[], $5::uuid[], $6::text[], $7::bool[], $8::text[], $9::timestamp[], $10::timestamptz[])
  as g (contact, channel, key, variant, tested, reason, wall_at, due_at)
on conflict (campaign_id, contact_id, workspace_id) do update
set channel = excluded.channel, address_key = excluded.address_key, variant = excluded.variant, tested = excluded.tested,
    state = excluded.state, reason = excluded.reason, wall_at = excluded.wall_at, due_at = excluded.due_at
where m.state = 'added'
