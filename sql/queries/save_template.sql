-- Puts a checked version of a template. $1 workspace, $2 name, $3 variables as JSON, $4 smart replacement, $5 whether it is
-- a draft, $6 texts as JSON. See duly.save_template.
select version, created from duly.save_template($1, $2, $3::text::jsonb, $4, $5, $6::text::jsonb)
