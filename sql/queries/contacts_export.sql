-- Contacts as a file has them: with several addresses on a channel, one has as many rows. $1 workspace.
select c.external_id, c.first_name, c.name, c.locale, c.time_zone, c.max_per_week,
       max(a.address) filter (where a.channel = 'sms') as sms,
       max(a.address) filter (where a.channel = 'whatsapp') as whatsapp,
       max(a.address) filter (where a.channel = 'rcs') as rcs,
       max(a.address) filter (where a.channel = 'telegram') as telegram,
       max(a.address) filter (where a.channel = 'email') as email,
       max(a.address) filter (where a.channel = 'push') as push,
       max(a.address) filter (where a.channel = 'in_app') as in_app,
       nullif(c.attributes, '{}')::text as attributes
from duly.contact c
left join (
  select h.contact_id, h.channel, h.address,
         row_number() over (partition by h.contact_id, h.channel order by h.created_at, h.address) as n
  from duly.address h where h.workspace_id = $1
) a on a.contact_id = c.id
where c.workspace_id = $1
group by c.id, c.workspace_id, a.n
order by c.id, a.n
