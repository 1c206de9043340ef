-- A workspace's templates: of each name the newest live version and what is newer, or all. $1 workspace, $2 whether all.
select t.name, t.version, t.state, t.used_at, t.created_at, x.texts, x.styles, x.channels, x.languages
from duly.workspace w
join duly.template t on t.workspace_id = w.id
cross join lateral (
  select count(*)::integer as texts, array_agg(distinct y.style order by y.style) filter (where y.style <> '') as styles,
         array_agg(distinct y.channel order by y.channel) filter (where y.channel <> '') as channels,
         array_agg(distinct y.language order by y.language) filter (where y.language <> '') as languages
  from duly.template_text y where y.template_id = t.id and y.workspace_id = w.id) x
where w.name = $1 and ($2 or t.version >= coalesce((
  select max(l.version) from duly.template l where l.workspace_id = w.id and l.name = t.name and l.state = 'live'), t.version))
order by t.name, t.version
