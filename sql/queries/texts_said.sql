-- When each of some texts last went to an address. $1 workspace, $2 channel, $3 address, $4 texts.
select text_id, last from duly.texts_said($1, duly.address_key($2, $3), $4::uuid[])
