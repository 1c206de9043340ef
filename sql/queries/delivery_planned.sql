-- Why and for when a delivery was planned. $1 id.
select p.source, s.name, p.kind, p.wished_at, p.earliest, p.latest, p.because::text as because, p.at
from duly.planned p
left join duly.series s on s.id = p.source_id and s.workspace_id = p.workspace_id
where p.delivery_id = $1
