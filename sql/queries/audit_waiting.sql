-- The lines that wait to be chained: how many, and for how many seconds the oldest has.
select count(*) as total, coalesce(extract(epoch from clock_timestamp() - min(at)), 0)::float8 as seconds
from duly.audit_intake
