-- Stops a series. $1 workspace, $2 series.
select duly.pause_series($1, $2)
