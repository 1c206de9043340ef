-- Gives planned deliveries their times, for as long as the turn holds and nobody has moved them meanwhile.
-- $1 ids, $2 workspaces, $3 when they were due, $4 when they are; $5 account, $6 token, $7 for the receipt: messages an
-- hour. Returns how many.
with w as (
  select w.* from unnest($1::uuid[], $2::int[], $3::timestamptz[], $4::timestamptz[]) as w (id, workspace_id, was, due_at)
  where exists (select from duly.spreading s where s.account = $5 and s.token = $6 and s.until > now())
), moved as (
  update duly.delivery_row d set due_at = w.due_at
  from w
  where d.id = w.id and d.workspace_id = w.workspace_id and d.state = 'queued' and d.attempts = 0
    and d.planned_for is null and d.due_at = w.was
  returning d.id, d.workspace_id, d.due_at
), noted as (
  update duly.planned p
  set placed_at = moved.due_at, spread_at = now(),
      because = p.because || jsonb_build_object('spread', jsonb_build_object(
        'wished', p.wished_at, 'placed', moved.due_at, 'per_hour', $7::float8, 'beyond', moved.due_at > p.latest))
  from moved
  where p.delivery_id = moved.id and p.workspace_id = moved.workspace_id
  returning 1
)
select count(*) from noted
