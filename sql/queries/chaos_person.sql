-- Makes a person known by their time zone. $1 workspace, $2 address, $3 zone.
with person as (
  insert into duly.contact (id, workspace_id, time_zone)
  select duly.new_id(), w.id, $3 from duly.workspace w where w.name = $1
  returning id, workspace_id
)
insert into duly.address (workspace_id, address_key, channel, contact_id, address)
select workspace_id, duly.address_key('sms', $2), 'sms', id, $2 from person
on conflict do nothing
