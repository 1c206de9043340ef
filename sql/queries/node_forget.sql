-- Removes nodes that died long ago and hold nothing, and contents remembered past any window.
with dead as (
  delete from duly.node n
  where n.alive_until < now() - interval '1 day'
    and not exists (select from duly.delivery_row r where r.node_id = n.id and r.state in ('leased', 'sending'))
)
delete from duly.recent_content c
using duly.workspace w
where w.id = c.workspace_id and c.at < now() - coalesce(w.duplicate_window, interval '0') - interval '1 minute'
