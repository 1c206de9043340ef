-- Queues an answer to a keyword. $1 workspace, $2 the inbound message, $3 channel, $4 to, $5 the text.
select duly.answer_keyword($1, $2, $3, $4, $5)
