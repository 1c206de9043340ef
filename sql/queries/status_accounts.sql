-- The accounts that daemons have been configured with, and their platforms.
select name, platform from duly.account order by name
