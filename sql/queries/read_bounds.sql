-- What the page asks must never hold the database up. For one transaction.
select set_config('statement_timeout', '5000', true)
