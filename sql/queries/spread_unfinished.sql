-- The accounts whose spreading somebody has begun and not finished in time.
select account from duly.spreading where unfinished and until < now()
