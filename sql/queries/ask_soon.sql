-- Another delivery was given the message that this one was to get: ask again at once, not after a minute.
-- $1 delivery, $2 workspace, $3 lease token, $4 which ask it was.
update duly.delivery_row set ask_at = now()
where id = $1 and workspace_id = $2 and lease_token = $3 and state = 'uncertain' and asks = $4
