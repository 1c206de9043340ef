-- Ends the turn. $1 account, $2 token, $3 whether it came to its end.
update duly.spreading set until = now(), unfinished = not $3::bool where account = $1 and token = $2
