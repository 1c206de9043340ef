-- The keyed hashes of addresses, in their order. $1 channel, $2 addresses.
select duly.address_key($1, a.address) as key from unnest($2::text[]) with ordinality as a (address, n) order by a.n
