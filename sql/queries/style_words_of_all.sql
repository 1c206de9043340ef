-- Which styles a workspace's people called helpful in the last half year. $1 workspace.
select f.style, count(*) filter (where f.helpful) as helpful, count(*) filter (where not f.helpful) as not_helpful
from duly.feedback f
where f.workspace_id = $1 and f.at > now() - interval '180 days' and f.style <> ''
group by f.style
