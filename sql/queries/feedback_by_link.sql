-- What a feedback link says. $1 token, $2 helpful, or null to look whether it is known. See duly.feedback_by_link.
select duly.feedback_by_link($1, $2) as known
