-- Puts leased deliveries back that could not be opened, for a minute, with the reason; what expires before then is
-- expired. Of a delivery's rulings the first hundred are kept.
-- $1 ids, $2 workspaces, $3 lease tokens, $4 why.
with w as (
  select * from unnest($1::uuid[], $2::int[], $3::bigint[], $4::text[]) as w (id, workspace_id, lease_token, why)
), held as (
  update duly.delivery_row r
  set state = (case when r.expires_at <= now() + interval '1 minute' then 'expired' else 'queued' end)::duly.state,
      reason = case when r.expires_at <= now() + interval '1 minute' then 'expired' else 'cannot_open' end,
      detail = w.why, due_at = now() + interval '1 minute', lease_token = null, node_id = null, state_at = now()
  from w
  where r.id = w.id and r.workspace_id = w.workspace_id and r.lease_token = w.lease_token and r.state = 'leased'
  returning r.id, r.workspace_id, r.state, r.due_at, w.why
)
insert into duly.ruling (delivery_id, workspace_id, stage, became, until, rulings)
select h.id, h.workspace_id, 'leased', h.state, case when h.state = 'queued' then h.due_at end,
       jsonb_build_array(jsonb_build_object(
         'rule', 'sealing', 'answer', 'defer', 'reason', 'cannot_open', 'because', jsonb_build_object('why', h.why)))
from held h
where (select count(*) from duly.ruling g where g.delivery_id = h.id) < 100
