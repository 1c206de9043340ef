-- The daemons that live by this database's clock, and those that died and still hold something.
select n.id, n.name, n.version, n.started_at, n.alive_until > now() as alive
from duly.node n
where n.alive_until > now()
   or exists (select from duly.delivery_row r where r.node_id = n.id and r.state in ('leased', 'sending'))
order by n.id
