-- The legal holds that stand. $1 workspace, or null for all.
select w.name as workspace, case when h.address_key = '00000000-0000-0000-0000-000000000000' then 'all' else h.address_key::text end
         as address, h.who, h.why, h.at
from duly.legal_hold h join duly.workspace w on w.id = h.workspace_id
where h.released_at is null and ($1::text is null or w.name = $1)
order by h.at
