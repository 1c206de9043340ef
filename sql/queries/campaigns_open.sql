-- The campaigns that there is something to do for, those longest untouched first.
select c.id, c.workspace_id, c.state from duly.campaign c
where c.state = 'running' or c.restless
order by c.moved_at limit 100
