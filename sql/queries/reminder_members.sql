-- The next people of a series of reminders. $1 series, $2 workspace id, $3 after this contact or null, $4 on this day, $5 how
-- many at most.
select m.contact_id from duly.series_member m
where m.series_id = $1 and m.workspace_id = $2 and ($3::uuid is null or m.contact_id > $3) and (m.ends_on is null or m.ends_on >= $4)
order by m.contact_id limit $5
