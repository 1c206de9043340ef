-- Asks for the sealing of what workspaces had before they asked for it; whether one of them may have more.
-- $1 workspaces, $2 how many of each at most.
select bool_or(duly.ask_for_older(w.id, $2)) from unnest($1::int[]) w (id)
