"""`duly demo`: the real daemon, its own Postgres, the stand-in for Twilio, and three workspaces that write."""
