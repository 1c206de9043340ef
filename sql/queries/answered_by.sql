-- Notes a person's answer. $1 workspace, $2 channel, $3 from whom, $4 helpful or null, $5 only if it was asked for,
-- $6 days since the message. See duly.answered_by.
select duly.answered_by($1, $2, $3, $4, $5, make_interval(days => $6::int))
