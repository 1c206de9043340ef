-- How many deliveries of a campaign were marked while it was surely paused. $1 workspace, $2 campaign, $3 since when,
-- $4 until when.
select count(*) from duly.planned p
join duly.campaign c on c.id = p.source_id and c.workspace_id = p.workspace_id
join duly.workspace w on w.id = c.workspace_id
join duly.delivery_row d on d.id = p.delivery_id and d.workspace_id = p.workspace_id
where w.name = $1 and c.name = $2
  and exists (select from unnest($3::timestamptz[], $4::timestamptz[]) as t (since, until)
              where d.sending_at between t.since and t.until)
