-- Says under which URL links are. $1 the URL.
select duly.register_link_base($1)
