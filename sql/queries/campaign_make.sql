-- Makes a draft. $1 workspace, $2 name, $3 category, $4 priority, $5 channels, $6 segment, $7 variables, $8 instant, $9 wall
-- clock, $10 zone where none is known, $11 passed, $12 a minute, $13 an hour, $14 earlier, $15 later, $16 expires, $17 holdout,
-- $18 test part, $19 metric, $20 measure, $21 alpha, $22 who decides, $23 after; $24 the variants, as a JSON array.
with made as (
  insert into duly.campaign
    (id, workspace_id, name, category, priority, channels, segment, variables, sends_at, wall_at, fallback_zone, passed,
     per_minute, per_hour, earlier, later, expires_at, holdout, test_part, metric, measure, alpha, decides, decide_after)
  values (duly.new_id(), $1, $2, $3, $4, $5::text[], $6::text::jsonb, $7::text::jsonb, $8, $9, $10, $11, $12, $13, $14, $15,
          $16, $17, $18, $19, $20, $21, $22, $23)
  on conflict (workspace_id, name) do nothing
  returning id, workspace_id
), variants as (
  insert into duly.campaign_variant (campaign_id, workspace_id, number, name, weight, template, style, subject, body)
  select m.id, m.workspace_id, v.n, v.value ->> 'name', (v.value ->> 'weight')::real, v.value ->> 'template',
         coalesce(v.value ->> 'style', ''), v.value ->> 'subject', v.value ->> 'body'
  from made m, jsonb_array_elements($24::text::jsonb) with ordinality v (value, n)
)
select id from made
