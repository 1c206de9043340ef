"""Everything that speaks to Postgres: the pool, the migrations, the embedded server. SQL itself is in sql/."""
