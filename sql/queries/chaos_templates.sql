-- Makes the templates of a chaos run, with three texts in each style. $1 workspace.
with template as (
  insert into duly.template (id, workspace_id, name, version, variables)
  select duly.new_id(), w.id, t.name, 1, '{"goal": {"type": "text"}, "done": {"type": "number"}, "target": {"type": "number"}}'
  from duly.workspace w, unnest('{accountability,partial,congratulatory}'::text[]) t (name) where w.name = $1
  returning id, workspace_id, name
)
insert into duly.template_text (id, workspace_id, template_id, style, number, body)
select duly.new_id(), t.workspace_id, t.id, s.style, n.n, t.name || ' ' || s.style || n.n || ': {{goal}} {{done}} of {{target}}'
from template t, unnest('{supportive,snarky,chaotic}'::text[]) s (style), generate_series(1, 3) n (n)
