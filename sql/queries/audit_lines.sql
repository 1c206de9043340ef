-- The audit in order. $1 since, $2 until, $3 what, $4 workspace's id; null: any.
select a.id, a.at, a.who, a.what, w.name as workspace, a.subject, a.detail::text as detail, a.hash
from duly.audit a left join duly.workspace w on w.id = a.workspace_id
where ($1::timestamptz is null or a.at >= $1) and ($2::timestamptz is null or a.at < $2)
  and ($3::text is null or a.what = $3) and ($4::int is null or a.workspace_id = $4)
order by a.id
