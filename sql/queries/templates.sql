-- The newest live version of templates by name, and others by name@version, with their texts. $1 workspace, $2 names.
select t.id, t.name, t.version, t.variables::text as variables, t.smart_replacement, w.asked,
       x.id as text_id, x.channel, x.language, x.style, x.number, x.body, x.subject, x.html,
       x.buttons::text as buttons, x.attachments::text as attachments
from (select distinct unnest($2::text[]) as asked) w
cross join lateral (
  select t.* from duly.template t
  where t.workspace_id = $1 and t.name = regexp_replace(w.asked, '@[0-9]{1,9}$', '')
    and case when w.asked ~ '@[0-9]{1,9}$' then t.version = substring(w.asked from '@([0-9]{1,9})$')::integer and t.state <> 'draft'
             else t.state = 'live' end
  order by t.version desc limit 1
) t
join duly.template_text x on x.template_id = t.id and x.workspace_id = t.workspace_id
order by t.name, t.version, x.number
