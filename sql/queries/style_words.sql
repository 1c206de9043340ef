-- Which styles these people called helpful. $1 workspace, $2 contacts.
select f.contact_id, f.style, count(*) filter (where f.helpful) as helpful, count(*) filter (where not f.helpful) as not_helpful
from duly.feedback f
where f.contact_id = any ($2::uuid[]) and f.workspace_id = $1 and f.style <> ''
group by f.contact_id, f.style
