-- Removes nodes that died long ago and hold nothing, contents remembered past any window, and limits that
-- nobody has used for so long that they are as if never used.
with dead as (
  delete from duly.node n
  where n.alive_until < now() - interval '1 day'
    and not exists (select from duly.delivery_row r where r.node_id = n.id and r.state in ('leased', 'sending'))
), rested as (
  delete from duly.pace where taken_until < now() - interval '1 day'
), spent as (
  delete from duly.quota where to_timestamp((slot + 66) * slot_seconds) < now() - interval '1 day'
)
delete from duly.recent_content c
using duly.workspace w
where w.id = c.workspace_id and c.at < now() - coalesce(w.duplicate_window, interval '0') - interval '1 minute'
