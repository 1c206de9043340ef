-- Charges deliveries to the caps of their addresses; see duly.charge_caps. One row a delivery and cap.
-- $1 ids, $2 workspaces, $3 address keys, $4 caps, $5 limits, $6 windows in seconds, $7 calendar begins.
select id, cap, used, free_at from duly.charge_caps($1, $2, $3, $4, $5, $6, $7)
