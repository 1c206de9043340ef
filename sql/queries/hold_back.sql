-- Writes what the rules answered for leased deliveries that may not go now: later, or not at all. What is deferred
-- past its end is expired at once. Of a delivery's rulings the first hundred are kept.
-- $1 ids, $2 workspaces, $3 lease tokens, $4 queued or skipped, $5 reasons, $6 details, $7 until when, $8 rulings;
-- $9 the stage.
with w as (
  select * from unnest($1::uuid[], $2::int[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::timestamptz[], $8::text[])
    as w (id, workspace_id, lease_token, state, reason, detail, until, rulings)
), held as (
  update duly.delivery_row r
  set state = (case when w.state = 'queued' and w.until >= r.expires_at then 'expired' else w.state end)::duly.state,
      reason = case when w.state = 'queued' and w.until >= r.expires_at then 'expired' else w.reason end,
      detail = w.detail,
      due_at = case when w.state = 'queued' and (r.expires_at is null or w.until < r.expires_at)
                    then greatest(w.until, now()) else r.due_at end,
      planned_for = coalesce(r.planned_for, r.due_at), lease_token = null, node_id = null, state_at = now()
  from w
  where r.id = w.id and r.workspace_id = w.workspace_id and r.lease_token = w.lease_token and r.state = 'leased'
  returning r.id, r.workspace_id, r.state
)
insert into duly.ruling (delivery_id, workspace_id, stage, became, until, rulings)
select h.id, h.workspace_id, $9, h.state, case when h.state = 'queued' then w.until end, w.rulings::jsonb
from held h join w on w.id = h.id and w.workspace_id = h.workspace_id
where (select count(*) from duly.ruling g where g.delivery_id = h.id) < 100
