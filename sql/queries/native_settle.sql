-- Brings hand-overs in line with what has become of their deliveries. $1 ids.
select duly.settle_handed_over($1::uuid[])
