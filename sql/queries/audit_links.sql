-- The audit's chain in order, with all that its hashes are made of; the time in microseconds since 1970.
select id, case when isfinite(at) then (extract(epoch from at) * 1000000)::bigint end as microseconds, who, what, workspace_id, subject, detail::text as detail, previous, hash
from duly.audit order by id
