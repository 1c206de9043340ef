-- Lets a series go on. $1 workspace, $2 series.
select duly.resume_series($1, $2)
