-- How many deliveries each account's platform has for later.
select account, count(*) as total from duly.handed_over where ended_at is null group by account
