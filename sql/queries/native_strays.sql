-- Deliveries that are wanted back and that no platform has any more: whoever wanted them came just too late to be seen.
-- $1 how many at most.
select distinct c.delivery_id from duly.recall c
where not c.done
  and not exists (select from duly.handed_over h where h.delivery_id = c.delivery_id and h.ended_at is null)
limit $1
