-- A version of a template in any state, with its texts. $1 workspace, $2 name for the newest, or name@version.
select t.id, t.name, t.version, t.state, t.variables::text as variables, t.smart_replacement, $2::text as asked,
       x.id as text_id, x.channel, x.language, x.style, x.number, x.body, x.subject, x.html,
       x.buttons::text as buttons, x.attachments::text as attachments
from duly.workspace w
cross join lateral duly.template_version(w.id, $2) t
join duly.template_text x on x.template_id = t.id and x.workspace_id = w.id
where w.name = $1
order by x.channel, x.language, x.style, x.number
