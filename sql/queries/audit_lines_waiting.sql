-- What is not chained yet, as audit_lines has it. $1 since, $2 until, $3 what, $4 workspace's id; null: any.
select null::bigint as id, i.at, i.who, i.what::text as what, w.name as workspace, i.subject, i.detail::text as detail, null::bytea as hash
from duly.audit_intake i left join duly.workspace w on w.id = i.workspace_id
where ($1::timestamptz is null or i.at >= $1) and ($2::timestamptz is null or i.at < $2)
  and ($3::text is null or i.what::text = $3) and ($4::int is null or i.workspace_id = $4)
order by i.id
