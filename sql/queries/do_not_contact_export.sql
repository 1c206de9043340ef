-- A do-not-contact list, as hashes. $1 workspace, or null for the list of all.
select s.address_key as hash, left(duly.address_key('key', 'name')::text, 8) as key, s.channel, s.category,
       w.name as workspace, s.reason, s.source, s.at
from duly.suppression s
left join duly.workspace w on w.id = s.workspace_id
where s.workspace_id = case when $1::text is null then 0 else (select k.id from duly.workspace k where k.name = $1) end
  and s.reason = 'do_not_contact'
order by s.at, s.address_key
