-- Forgets a notice that was told, or tried often enough. $1 id.
delete from duly.notice where id = $1
