-- What is known of who has each address. $1 workspace, $2 channels, $3 addresses; by position.
select duly.person_at($1, a.channel, a."to")::text as person
from unnest($2::text[], $3::text[]) with ordinality a (channel, "to", n)
order by a.n
