-- What rules answered where a delivery did not simply go, oldest first. $1 id.
select stage, became::text as became, until, rulings::text as rulings, at from duly.ruling where delivery_id = $1 order by id
