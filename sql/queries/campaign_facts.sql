-- A campaign as it stands, without its members. $1 workspace's name, $2 campaign's.
select c.*, w.name as workspace, now() as now,
       array(select to_jsonb(v)::text from duly.campaign_variant v
             where v.campaign_id = c.id and v.workspace_id = c.workspace_id order by v.number) as variants
from duly.campaign c join duly.workspace w on w.id = c.workspace_id
where w.name = $1 and c.name = $2
