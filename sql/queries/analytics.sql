-- What became of the deliveries that were queued within a span of time, counted by the values of some dimensions. A range
-- of the primary keys, as an id begins with its time; it is said of each table, as no plan finds it out by itself. $1 workspace, $2 since, $3 until, $4 dimensions: template (its
-- version), text, style, kind, variant (of a campaign), source (a series' name), channel, category, hour (of the day, by the
-- recipient's clock), day (UTC).
select v.dimension, v.value, count(*) as queued, count(d.sent_at) as sent,
       count(*) filter (where d.state in ('delivered', 'read')) as delivered,
       count(*) filter (where d.state = 'failed') as failed,
       count(*) filter (where d.state = 'skipped') as skipped,
       count(*) filter (where d.state in ('expired', 'canceled')) as given_up,
       count(*) filter (where r.replied) as replied, count(*) filter (where r.clicked) as clicked,
       count(*) filter (where r.opted_out) as opted_out,
       count(*) filter (where f.helpful) as helpful, count(*) filter (where not f.helpful) as not_helpful,
       sum(d.segments)::bigint as segments
from duly.delivery_row d
join duly.message m on m.id = d.message_id and m.workspace_id = d.workspace_id
left join duly.planned p on p.delivery_id = d.id and p.workspace_id = d.workspace_id
  and p.delivery_id >= duly.first_id_at($2::timestamptz) and p.delivery_id < duly.first_id_at($3::timestamptz)
left join duly.series s on s.id = p.source_id and s.workspace_id = p.workspace_id
left join (
  select r.delivery_id, bool_or(r.kind = 'reply') as replied, bool_or(r.kind = 'click') as clicked,
         bool_or(r.kind = 'opt_out') as opted_out
  from duly.response r
  where r.delivery_id >= duly.first_id_at($2::timestamptz) and r.delivery_id < duly.first_id_at($3::timestamptz)
    and r.workspace_id = $1
  group by r.delivery_id) r on r.delivery_id = d.id
left join duly.feedback f on f.delivery_id = d.id and f.workspace_id = d.workspace_id
  and f.delivery_id >= duly.first_id_at($2::timestamptz) and f.delivery_id < duly.first_id_at($3::timestamptz)
left join duly.contact c on c.id = p.contact_id and c.workspace_id = p.workspace_id and 'hour' = any ($4::text[])
cross join lateral (values
  ('template', m.template), ('text', m.text_id::text), ('style', nullif(p.style, '')),
  ('kind', case when p.source <> 'campaign' then nullif(p.kind, '') end),
  ('variant', case when p.source = 'campaign' then nullif(p.kind, '') end),
  ('source', coalesce(s.name, p.source)), ('channel', d.channel::text), ('category', m.category),
  ('hour', to_char(coalesce(d.sent_at, d.due_at) at time zone coalesce(c.time_zone, 'UTC'), 'HH24')),
  ('day', to_char(coalesce(d.sent_at, d.due_at) at time zone 'UTC', 'YYYY-MM-DD'))
) v (dimension, value)
where d.id >= duly.first_id_at($2::timestamptz) and d.id < duly.first_id_at($3::timestamptz) and d.workspace_id = $1
  and v.dimension = any ($4)
group by v.dimension, v.value
order by v.dimension, v.value nulls last
