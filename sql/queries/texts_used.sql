-- How often people got each of some texts, and when last: by the text, as it stood in any version of its template, so
-- that a new version does not begin anew. $1 workspace, $2 contacts, $3 texts. What was never used is not in the answer.
select p.contact_id, wanted.id as text_id, count(*)::integer as times, max(coalesce(p.wished_at, p.at)) as last_at
from (select distinct unnest($3::uuid[]) as id) wanted
join duly.template_text t on t.id = wanted.id and t.workspace_id = $1
join duly.template v on v.id = t.template_id and v.workspace_id = $1
join duly.template every_version on every_version.workspace_id = $1 and every_version.name = v.name
join duly.template_text same
  on same.template_id = every_version.id and same.workspace_id = $1 and same.channel = t.channel and same.body = t.body
join duly.planned p
  on p.contact_id = any ($2::uuid[]) and p.text_id = same.id and p.workspace_id = $1 and p.delivery_id is not null
group by p.contact_id, wanted.id
