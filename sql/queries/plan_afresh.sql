-- Takes back what was planned of people's check-ins and lies ahead. $1 workspace id, $2 contacts. See duly.plan_afresh.
select duly.plan_afresh($1, $2)
