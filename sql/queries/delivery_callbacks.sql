-- The status callbacks for a delivery, oldest first. $1 id.
select attempt, account, provider_id, provider_status, code, moved, received_at
from duly.callback where delivery_id = $1 order by id
