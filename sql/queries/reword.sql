-- Says something else in leased deliveries. $1 a JSON array. See duly.reword.
select id, body, segments from duly.reword($1::text::jsonb)
