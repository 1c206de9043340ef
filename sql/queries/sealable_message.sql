-- The next messages to be sealed, or sealed anew. $1 workspaces and $2 the
-- generations of data keys to look for, 0 for what is in clear; $3 how many at most, $4 ids to leave out.
select w.id as workspace_id, s.*
from unnest($1::int[], $2::smallint[]) w (id, generation) cross join lateral (
  select m.id::text as id, m.sealed_with, m.sealed,
         array[m.body, (m.metadata -> 'media_urls')::text, m.variables::text, m.metadata::text] as parts
  from duly.message m
  where m.workspace_id = w.id and m.sealed_with = w.generation and m.id::text <> all ($4::text[])
  order by m.id limit $3
) s
limit $3
