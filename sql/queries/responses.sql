-- What came of deliveries, for those who compare: of each, when it was first answered and clicked, whether it was called
-- helpful, and whether an opt-out followed. $1 workspace, $2 deliveries.
select d.id as delivery_id, max(r.first_at) filter (where r.kind = 'reply') as replied_at,
       max(r.first_at) filter (where r.kind = 'click') as clicked_at, bool_or(f.helpful) as helpful, max(f.at) as helpful_at,
       coalesce(bool_or(r.kind = 'opt_out'), false) as opted_out
from unnest($2::uuid[]) d (id)
left join duly.response r on r.delivery_id = d.id and r.workspace_id = $1
left join duly.feedback f on f.delivery_id = d.id and f.workspace_id = $1
group by d.id
