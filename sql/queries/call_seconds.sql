-- How long the platforms take to answer, by account: of the last calls for the newest deliveries. The end of
-- the primary key: ids begin with the time.
select account, (avg(took_ms) / 1000)::float8 as seconds
from (select account, took_ms from duly.attempt order by delivery_id desc limit 1000) a
group by account
