-- Of what a race has decided within the last seconds, the part that a stop has won. Null: too few to say. $1 categories.
select case when count(*) >= 5 then avg((d.state in ('skipped', 'canceled'))::int)::float8 end
from duly.delivery_row d
join duly.message m on m.id = d.message_id and m.workspace_id = d.workspace_id
where m.category = any ($1::text[]) and greatest(d.sending_at, case when d.state in ('skipped', 'canceled') then d.state_at end)
      > now() - interval '3 seconds'
