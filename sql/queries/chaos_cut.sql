-- Ends the database sessions of a chaos run's daemon. $1 its application_name.
select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name = $1
