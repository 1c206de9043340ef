-- Learns from what is next. $1 workspace, $2 how much at most. See duly.learn_habits.
select duly.learn_habits($1, $2) as looked
