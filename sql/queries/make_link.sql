-- A link for a text. $1 workspace's name, $2 target or null, $3 key or null, $4 days. See duly.make_link.
select url, token, metadata::text as metadata from duly.make_link($1, $2, $3, $4)
