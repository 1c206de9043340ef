"""`duly chaos`: real daemons, a real Postgres and the stand-in, everything broken on purpose, and a verdict."""
