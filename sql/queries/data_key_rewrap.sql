-- Keeps a data key as it is wrapped with another key. $1 workspace, $2 generation, $3 wrapped, $4 by which key, $5 by
-- which it was until now.
update duly.data_key set wrapped = $3, wrapped_by = $4
where workspace_id = $1 and generation = $2 and wrapped_by = $5
