-- Notes what the last look at hand-overs found: what must not go as it stands is wanted back.
-- $1 ids, $2 lease tokens, $3 workspaces, $4 what each is to become or null, $5 why.
with looked as (
  update duly.handed_over h set looked_at = now()
  from unnest($1::uuid[], $2::bigint[], $3::int[], $4::text[], $5::text[])
    as w (id, lease_token, workspace_id, becomes, reason)
  where h.delivery_id = w.id and h.lease_token = w.lease_token and h.workspace_id = w.workspace_id
    and h.looked_at is null and h.ended_at is null
  returning h.delivery_id, h.workspace_id, w.becomes, w.reason
)
insert into duly.recall (delivery_id, workspace_id, becomes, reason, who)
select l.delivery_id, l.workspace_id, l.becomes::duly.state, l.reason, 'duly' from looked l where l.becomes is not null
