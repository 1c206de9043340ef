-- Where a link leads. $1 token, $2 what to count: click, preview, or null. See duly.follow_link.
select workspace_id, target, sealed from duly.follow_link($1, $2)
