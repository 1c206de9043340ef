-- The deliveries of a planned message of a chaos run. $1 the plan's number.
select id from duly.message where (metadata ->> 'chaos')::int = $1
