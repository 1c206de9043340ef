-- What has the names already that a file of compatible SQL wants, and whether it is that file's own. $1 schema, $2 kinds
-- (view, function, schema), $3 names, $4 the comment of what is its own.
with wanted as (
  select w.kind, w.name from unnest($2::text[], $3::text[]) w (kind, name)
)
select w.kind, w.name,
       case c.relkind when 'r' then 'table' when 'p' then 'table' when 'f' then 'foreign table' when 'v' then 'view'
                      when 'm' then 'materialized view' when 'S' then 'sequence' when 'i' then 'index' else 'type' end as found,
       obj_description(c.oid, 'pg_class') is not distinct from $4 and c.relkind = 'v' as own
from wanted w
join pg_namespace n on n.nspname = $1
join pg_class c on c.relnamespace = n.oid and c.relname = w.name
where w.kind = 'view'
union all
select w.kind, p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')', 'function',
       obj_description(p.oid, 'pg_proc') is not distinct from $4
from wanted w
join pg_namespace n on n.nspname = $1
join pg_proc p on p.pronamespace = n.oid and p.proname = w.name
where w.kind = 'function'
union all
select w.kind, n.nspname, 'schema', obj_description(n.oid, 'pg_namespace') is not distinct from $4
from wanted w join pg_namespace n on n.nspname = w.name
where w.kind = 'schema'
order by 1, 2
