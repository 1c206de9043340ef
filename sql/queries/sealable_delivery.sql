-- The next deliveries' addresses to be sealed, or sealed anew. $1 workspaces and $2 the
-- generations of data keys to look for, 0 for what is in clear; $3 how many at most, $4 ids to leave out.
select w.id as workspace_id, s.*
from unnest($1::int[], $2::smallint[]) w (id, generation) cross join lateral (
  select d.id::text as id, d.sealed_with, d.sealed,
         array[d."to"] as parts
  from duly.delivery_row d
  where d.workspace_id = w.id and d.sealed_with = w.generation and d.id::text <> all ($4::text[])
  order by d.id limit $3
) s
limit $3
