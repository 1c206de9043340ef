-- The server, its clock, and what this login has of it.
select current_setting('server_version_num')::int as version,
       current_setting('server_version') as version_text,
       pg_is_in_recovery() as standby,
       current_setting('default_transaction_read_only') = 'on' as read_only,
       clock_timestamp() as clock,
       current_user::text as login,
       current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
         as max_connections,
       (select rolconnlimit from pg_roles where rolname = current_user) as login_connections,
       (select count(*) from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid())
         as connections,
       has_database_privilege(current_database(), 'create') as may_migrate
