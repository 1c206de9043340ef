-- Keeps a new data key, unless somebody else has made that generation. $1 workspace, $2 generation, $3 wrapped, $4 by
-- which key.
insert into duly.data_key (workspace_id, generation, wrapped, wrapped_by) values ($1, $2, $3, $4) on conflict do nothing
