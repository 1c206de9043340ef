-- The platform has canceled these: they become what was wanted of them. Which nobody wanted back stay as they are.
-- $1 ids, $2 attempts.
select duly.settle_handed_over(array(
  select r.id from unnest($1::uuid[], $2::smallint[]) as w (id, attempt)
  join duly.delivery_row r on r.id = w.id and r.attempts = w.attempt), true)
