-- Records what an address said, and does what follows. $1 workspace (0: all that write by the account), $2 key,
-- $3 channel, $4 category, $5 account or '', $6 given or withdrawn, $7 source, $8 words, $9 proof.
select skipped from duly.consent_recorded($1, $2, $3, $4, $5, $6, $7, $8, $9::text::jsonb, 'duly', now())
