-- The database's clock at this moment.
select clock_timestamp() as now
