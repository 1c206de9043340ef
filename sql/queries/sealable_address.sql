-- The next contacts' addresses to be sealed, or sealed anew. $1 workspaces and $2 the
-- generations of data keys to look for, 0 for what is in clear; $3 how many at most, $4 ids to leave out.
select w.id as workspace_id, s.*
from unnest($1::int[], $2::smallint[]) w (id, generation) cross join lateral (
  select a.address_key || ' ' || a.channel as id, a.sealed_with, a.sealed,
         array[a.address] as parts
  from duly.address a
  where a.workspace_id = w.id and a.sealed_with = w.generation and a.address_key || ' ' || a.channel <> all ($4::text[])
  order by a.address_key limit $3
) s
limit $3
