-- The data keys of workspaces, oldest first, each wrapped with a key of the configuration. $1 workspaces, or null for all.
select workspace_id, generation, wrapped, wrapped_by from duly.data_key
where $1::int[] is null or workspace_id = any ($1::int[])
order by workspace_id, generation
