-- Takes somebody out of a series. $1 workspace, $2 series, $3 external id.
select duly.remove_from_series($1, $2, $3)
