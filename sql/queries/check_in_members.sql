-- The next people with a check-in on a weekday. $1 workspace id, $2 weekday (7 is Sunday), $3 after whom, or null, $4 how
-- many at most.
select p.contact_id from duly.preference p
where p.workspace_id = $1 and p.enabled and p.send_day = $2
  and p.contact_id > coalesce($3, '00000000-0000-0000-0000-000000000000'::uuid)
order by p.contact_id limit $4
