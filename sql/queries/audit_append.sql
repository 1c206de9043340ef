-- Records an act of the daemon's own. $1 who, $2 what, $3 subject or null, $4 detail as JSON text.
select duly.audit_append($1, $2, subject => $3, detail => $4::text::jsonb)
