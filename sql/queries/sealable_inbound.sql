-- The next messages from people to be sealed, or sealed anew. $1 workspaces and $2 the
-- generations of data keys to look for, 0 for what is in clear; $3 how many at most, $4 ids to leave out.
select w.id as workspace_id, s.*
from unnest($1::int[], $2::smallint[]) w (id, generation) cross join lateral (
  select i.id::text as id, i.sealed_with, i.sealed,
         array[i.from_address, i.body, to_json(i.media_urls)::text] as parts
  from duly.inbound i
  where i.workspace_id = w.id and i.sealed_with = w.generation and i.id::text <> all ($4::text[])
  order by i.id limit $3
) s
limit $3
