-- What role duly_daemon may do and this login may not, as "privilege on object". No rows where it may all, and
-- where the schema is not there yet.
with daemon as (
  select r.oid as role, n.oid as schema from pg_roles r, pg_namespace n
  where r.rolname = 'duly_daemon' and n.nspname = 'duly'
), wanted as (
  select 'usage on schema duly' as what, has_schema_privilege(schema, 'usage') as granted from daemon
  union all
  select format('%s on duly.%s', privilege, c.relname), has_table_privilege(c.oid, privilege)
  from daemon join pg_class c on c.relnamespace = schema and c.relkind in ('r', 'p', 'v')
  cross join unnest(array['select', 'insert', 'update', 'delete']) as privilege
  where has_table_privilege(role, c.oid, privilege)
  union all
  -- By case, as the planner may ask before it looks at the kind, and of another relation that is an error.
  select format('usage on duly.%s', c.relname), case when c.relkind = 'S' then has_sequence_privilege(c.oid, 'usage') end
  from daemon join pg_class c on c.relnamespace = schema and c.relkind = 'S'
  where case when c.relkind = 'S' then has_sequence_privilege(role, c.oid, 'usage') end
  union all
  select format('execute on duly.%s', p.proname), has_function_privilege(p.oid, 'execute')
  from daemon join pg_proc p on p.pronamespace = schema
  where has_function_privilege(role, p.oid, 'execute')
)
select what from wanted where not granted order by what
