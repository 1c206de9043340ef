-- The next queued deliveries of some lanes that are due within the time in which the platform takes them ahead, in the
-- lanes' order: the position in each is the last one's. `eligible`: first tries that may still be worth it by then, and
-- whose time will not be moved and whose text not be chosen anew before: what is planned and not yet spread, and
-- check-ins, which ask for their goals at the lease, are not.
-- $1 workspaces, $2 priorities, $3 and $4 after which due time and id; $5 channel, $6 how many of each lane, $7 from and
-- $8 to how many seconds from now.
-- Of the metadata only what sending needs: Postgres holds JSON (deep, huge numbers) that our parser refuses.
select d.id, d.workspace_id, d.priority, d.due_at, d."to", d.address_key, d.attempts, d.forgiven, d.segments, d.expires_at,
       m.body, m.category,
       case when m.metadata ? 'media_urls' then jsonb_build_object('media_urls', m.metadata -> 'media_urls')::text
            else '{}' end as metadata,
       case when m.sealed is not null then d.message_id end as message_id, d.sealed as sealed_to, m.sealed as sealed_message,
       d.attempts = d.forgiven and (d.expires_at is null or d.expires_at > d.due_at + interval '10 seconds')
         and m.category <> 'opt_out_reply'
         and not exists (
           select from duly.planned p
           where p.delivery_id = d.id and p.workspace_id = d.workspace_id and (p.spread_at is null or p.source = 'check_in'))
         as eligible
from unnest($1::int[], $2::smallint[], $3::timestamptz[], $4::uuid[]) as a (workspace_id, priority, after_due, after_id)
cross join lateral (
  select q.* from duly.delivery_row q
  where q.state = 'queued' and q.workspace_id = a.workspace_id and q.channel = $5::text::duly.channel
    and q.priority = a.priority
    and (q.due_at, q.id) > (greatest(a.after_due, now() + make_interval(secs => $7::float8)), a.after_id)
    and q.due_at < now() + make_interval(secs => $8::float8)
  order by q.due_at, q.id
  limit $6
) d
join duly.message m on m.id = d.message_id and m.workspace_id = d.workspace_id
