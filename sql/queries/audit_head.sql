-- What the newest line of the audit's chain should be. No row where it was removed.
select id, hash from duly.audit_head
