-- All workspaces.
select id, name from duly.workspace
