-- Publishes or retires a version of a template. $1 workspace, $2 name@version, or name for the newest; $3 live or retired.
select duly.set_template_state($1, $2, $3)
