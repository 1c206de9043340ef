-- Each workspace with the last word on whether it has been checked.
select w.name as workspace, w.verified_at is not null as verified, v.at, v.who, v.why
from duly.workspace w
left join lateral (select * from duly.verification v where v.workspace_id = w.id order by v.id desc limit 1) v on true
order by w.name
