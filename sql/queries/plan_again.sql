-- The next people whose check-ins are to be planned again, held until the end of the transaction. $1 how many at most.
select a.workspace_id, a.contact_id from duly.plan_again a order by a.asked_at limit $1 for update skip locked
