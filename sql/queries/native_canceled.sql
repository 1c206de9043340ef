-- The platform has canceled these: they become what was wanted of them. Which nobody wanted back stay as they are.
-- $1 ids, $2 attempts; $3 all that the transaction is going to write, to lock them in one order.
with locked as materialized (
  select r.id, r.attempts from duly.delivery_row r where r.id = any ($3::uuid[]) order by r.id for update
)
select duly.settle_handed_over(array(
  select l.id from unnest($1::uuid[], $2::smallint[]) as w (id, attempt)
  join locked l on l.id = w.id and l.attempts = w.attempt), true)
