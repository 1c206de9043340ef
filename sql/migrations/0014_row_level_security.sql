-- Row-level security, under the rights: whatever somebody grants on a table later, for a report or by mistake, a
-- producer sees the rows of its own workspaces only and writes none. The daemon's role sees all, as before; the
-- owner's functions, which check the workspace themselves, are not bound by it.

do $$
declare
  t text;
begin
  for t in
    select c.relname from pg_class c join pg_attribute a on a.attrelid = c.oid
    where c.relnamespace = 'duly'::regnamespace and c.relkind in ('r', 'p') and a.attname = 'workspace_id'
      and not a.attisdropped
  loop
    execute format('alter table duly.%I enable row level security', t);
    execute format('create policy daemon on duly.%I to duly_daemon using (true) with check (true)', t);
    execute format(
      'create policy own on duly.%I for select to duly_producer, duly_reader
       using (workspace_id = any (array(select duly.visible_workspaces())))', t);
  end loop;
end $$;
