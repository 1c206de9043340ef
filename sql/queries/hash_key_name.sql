-- What tells the key of all address hashes from another database's, and nothing else of it.
select left(duly.address_key('key', 'name')::text, 8)
