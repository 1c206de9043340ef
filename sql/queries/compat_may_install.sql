-- Whether a schema is there ($1), and whether this login may own views over Duly's tables: as a superuser, or as who
-- has migrated. Duly's own schemas are no place for others' names.
select exists (select from pg_namespace n where n.nspname = $1) as there,
       $1 in ('duly', 'duly_compat', 'information_schema') or $1 like 'pg\_%' as reserved,
       (select r.rolsuper from pg_roles r where r.rolname = current_user)
       or (select pg_has_role(current_user, c.relowner, 'usage') from pg_class c
           where c.oid = to_regclass('duly.delivery_row')) as owner
