-- A person's goals with all progress. $1 workspace id, $2 contacts.
select g.contact_id, g.id, g.name, g.unit, g.target, g.period, g.begins_on, g.ends_on, g.created_at,
       (select coalesce(jsonb_agg(jsonb_build_object('amount', r.amount, 'at', r.at, 'key', r.key) order by r.at, r.id), '[]')::text
        from duly.progress r where r.goal_id = g.id and r.workspace_id = g.workspace_id) as progress_json
from duly.goal g
where g.workspace_id = $1 and g.contact_id = any ($2::uuid[])
order by g.created_at, g.id
