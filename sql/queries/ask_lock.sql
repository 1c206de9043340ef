-- Lets nobody else give this message of a platform to a delivery until our transaction ends. $1 provider id.
select pg_advisory_xact_lock(hashtextextended($1, 0))
