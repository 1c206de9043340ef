-- Puts what was sealed in the place of the clear text. $1 kind, $2 workspace, $3 ids, $4 what they were sealed with until
-- now, $5 sealed, $6 the generation of the data key. See duly.put_sealed.
select duly.put_sealed($1, $2, $3, $4, $5, $6)
