-- What an erasure leaves behind, and ends: the suppression by which an erased person stays unwritten to.
-- $1 workspace, $2 address.
with person as (
  select w.id as workspace_id, duly.address_key('sms', $2) as key from duly.workspace w where w.name = $1
), erased as (
  insert into duly.suppression (address_key, workspace_id, reason, source)
  select key, workspace_id, 'erased', 'chaos' from person
  on conflict do nothing
)
select duly.skip_waiting(key, workspace_id, '', '', 'erased', 'erased') from person
