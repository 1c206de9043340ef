-- Which of these messages of a platform belong to other deliveries of ours. $1 provider ids, $2 our delivery.
select distinct provider_id from duly.attempt where provider_id = any ($1::text[]) and delivery_id <> $2
