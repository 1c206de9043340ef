-- Makes the templates of a chaos run, with three texts in each style. $1 workspace.
select duly.put_template(
  $1, t.name, variables => '{"goal": {"type": "text"}, "done": {"type": "number"}, "target": {"type": "number"}}',
  texts => (
    select jsonb_agg(jsonb_build_object(
      'style', s.style, 'number', n.n, 'body', t.name || ' ' || s.style || n.n || ': {{goal}} {{done}} of {{target}}'))
    from unnest('{supportive,snarky,chaotic}'::text[]) s (style), generate_series(1, 3) n (n)))
from unnest('{accountability,partial,congratulatory}'::text[]) t (name)
