-- What was planned for a person and why, with the series and campaigns that they are in. $1 workspace id, $2 contacts.
select p.contact_id, p.source, s.name as series, p.occurrence, p.kind, p.style, p.reason, p.delivery_id, p.wished_at, p.earliest,
       p.latest, p.because::text as because_json, p.at
from duly.planned p
left join duly.series s on s.id = p.source_id and s.workspace_id = p.workspace_id
where p.workspace_id = $1 and p.contact_id = any ($2::uuid[])
order by p.at, p.occurrence
