-- Makes or changes a series of reminders: its id, and whether it is new. The parameters are those of duly.put_series.
select duly.put_series($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) as id, not exists (
  select from duly.series s join duly.workspace w on w.id = s.workspace_id where w.name = $1 and s.name = $2) as created
