-- What the database's clock shows: after an answer, a moment later than its commit.
select clock_timestamp()
