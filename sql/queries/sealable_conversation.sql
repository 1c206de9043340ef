-- The next conversations' addresses to be sealed, or sealed anew. $1 workspaces and $2 the
-- generations of data keys to look for, 0 for what is in clear; $3 how many at most, $4 ids to leave out.
select w.id as workspace_id, s.*
from unnest($1::int[], $2::smallint[]) w (id, generation) cross join lateral (
  select k.address_key || ' ' || k.channel as id, k.sealed_with, k.sealed,
         array[k.address] as parts
  from duly.conversation k
  where k.workspace_id = w.id and k.sealed_with = w.generation and k.address_key || ' ' || k.channel <> all ($4::text[])
  order by k.id limit $3
) s
limit $3
