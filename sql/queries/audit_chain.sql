-- Moves lines that wait to the end of the audit's chain; how many, and the newest line's id and hash. $1 how many at most.
select chained, head_id, head_hash from duly.audit_chain($1)
