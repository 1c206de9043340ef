-- Notes, with the mark and in its transaction, what is handed over and for when.
-- $1 ids, $2 lease tokens, $3 workspaces, $4 address keys, $5 channels, $6 categories, $7 when to be sent; $8 account.
insert into duly.handed_over (delivery_id, lease_token, workspace_id, address_key, channel, category, send_at, account)
select w.*, $8 from unnest($1::uuid[], $2::bigint[], $3::int[], $4::uuid[], $5::text[], $6::text[], $7::timestamptz[]) w
on conflict do nothing
