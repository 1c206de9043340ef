-- Says whether workspaces ask for sealing; their ids, null where one is not known. $1 names, $2 whether.
select w.name, w.seal, duly.set_sealing(w.name, w.seal) as id from unnest($1::text[], $2::bool[]) w (name, seal)
