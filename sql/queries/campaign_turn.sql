-- A running campaign for whoever works on it now, with its variants; nobody else has it until the transaction ends.
-- $1 campaign, $2 workspace.
select c.*, w.name as workspace, now() as now, c.segment::text as segment_json, c.variables::text as variables_json,
       array(select to_jsonb(v)::text from duly.campaign_variant v
             where v.campaign_id = c.id and v.workspace_id = c.workspace_id order by v.number) as variants
from duly.campaign c join duly.workspace w on w.id = c.workspace_id
where c.id = $1 and c.workspace_id = $2 and c.state = 'running'
for update of c skip locked
