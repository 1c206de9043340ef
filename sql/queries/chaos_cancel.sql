-- Cancels a delivery; whether it was in time. $1 delivery.
select duly.cancel($1)
