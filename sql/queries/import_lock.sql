-- Whether this transaction may import into a workspace, as one does at a time, and its time. $1 workspace, '' for the
-- list of all.
select pg_try_advisory_xact_lock(hashtextextended('duly import ' || $1, 0)) as mine, now() as now
