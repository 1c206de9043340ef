-- A person withdraws their consent. $1 workspace, $2 address.
select duly.record_consent($1, 'sms', $2, 'withdrawn')
