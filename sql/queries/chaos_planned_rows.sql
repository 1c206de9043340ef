-- What was decided of check-ins in a chaos run with what became of it, and deliveries that no decision knows of, for the
-- verdict.
select p.contact_id as contact, p.contact_id is not null as decided, p.occurrence, p.reason, p.kind, p.earliest, p.latest,
       c.time_zone as zone, coalesce(d.id, p.delivery_id) as delivery, d.state::text as state, d.reason as ended, m.category,
       m.template, d.sending_at as marked_at,
       -- A call's begin is reckoned back from its record; surely it was leased so long before its mark.
       (select max(least(a.began_at, d.sending_at) - make_interval(secs => a.waited_ms / 1000.0)) from duly.attempt a
        where a.delivery_id = d.id and a.workspace_id = d.workspace_id) as leased_at
from duly.planned p
full join duly.delivery_row d on d.id = p.delivery_id and d.workspace_id = p.workspace_id
left join duly.message m on m.id = d.message_id and m.workspace_id = d.workspace_id
left join duly.contact c on c.id = p.contact_id and c.workspace_id = p.workspace_id
where p.source = 'check_in' or p.contact_id is null and d.state <> 'canceled' -- taken back to be planned anew
order by p.at, d.id
