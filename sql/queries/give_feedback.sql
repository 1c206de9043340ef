-- Whether a delivery was helpful. $1 workspace's name, $2 delivery, $3 helpful. See duly.give_feedback.
select duly.give_feedback($1, $2, $3)
