-- Makes the zones and numbering plans known. $1 version, $2 and $3 which moments they are for, $4 offsets, $5 plans,
-- $6 regions, $7 areas, as JSON.
select duly.register_almanac($1, $2, $3, $4::text::jsonb, $5::text::jsonb, $6::text::jsonb, $7::text::jsonb)
