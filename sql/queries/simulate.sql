-- What the rules must know of messages that do not exist. $1 ids to answer with, $2 workspace, $3 addresses,
-- $4 channel, $5 category. The columns are rule_context.sql's.
select w.id, now() as now, k.verified_at is not null as verified,
       a.own and a.verified_at is not null as own_address,
       c.time_zone, c.locale, c.max_per_week,
       (select n.state from duly.consent n
        where n.address_key = w.key and n.workspace_id = w.workspace_id and n.channel in ('', w.channel)
          and n.category in ('', w.category)
        order by n.at desc, n.recorded_at desc, n.id desc limit 1) as consent,
       (select s.reason from duly.suppression s
        where s.address_key = w.key and s.workspace_id in (w.workspace_id, 0) and s.channel in ('', w.channel)
          and s.category in ('', w.category) and s.account = ''
        limit 1) as suppressed,
       (select jsonb_object_agg(u.cap, (
          select array_agg(extract(epoch from t.at)::float8) from unnest(u.at, u.by) t (at, by) where t.by <> w.id))::text
        from duly.cap_use u where u.address_key = w.key and u.workspace_id = w.workspace_id) as marks
from (
  select n.id, $2::int as workspace_id, duly.address_key($4, n.address) as key, $4::text as channel, $5::text as category
  from unnest($1::uuid[], $3::text[]) as n (id, address)
) w
join duly.workspace k on k.id = w.workspace_id
left join duly.address a on a.address_key = w.key and a.workspace_id = w.workspace_id and a.channel = w.channel
left join duly.contact c on c.id = a.contact_id and c.workspace_id = a.workspace_id
