-- Removes links that have expired. $1 how many at most.
select duly.forget_expired_links($1)
