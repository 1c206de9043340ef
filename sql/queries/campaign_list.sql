-- The newest campaigns, of a workspace or of all. $1 workspace or null, $2 how many, $3 whether only those under way.
select w.name as workspace, c.name, c.state, c.category, c.created_at, c.started_at, c.ended_at, c.winner
from duly.campaign c join duly.workspace w on w.id = c.workspace_id
where ($1::text is null or w.name = $1) and (not $3 or c.state in ('running', 'paused'))
order by c.created_at desc limit $2
