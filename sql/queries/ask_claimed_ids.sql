-- Which of these messages of a platform belong to other deliveries of ours, or to earlier calls of this one.
-- $1 provider ids, $2 our delivery, $3 the lease token of its last call.
select distinct provider_id from duly.attempt
where provider_id = any ($1::text[]) and (delivery_id <> $2 or lease_token <> $3)
