-- Prasso: msg_messages and msg_deliveries over Duly's tables. After base.sql, as rundown.sql is.

-- The workspace of a team, or of the installation where there is none; raises 22023 where the caller may not write.
create or replace function duly_compat.team_workspace(schema name, team_id bigint) returns duly.workspace
language plpgsql stable
as $$
#variable_conflict use_variable
declare
  called text;
begin
  if team_id is null then
    return duly_compat.target(schema, 'prasso');
  end if;
  select w.name into called from duly_compat.team t join duly.workspace w on w.id = t.workspace_id
  where t.schema_name = schema and t.team_id = team_id and w.id in (select duly.writable_workspaces());
  if called is null then
    raise exception 'team_id: % is no workspace that you may write to; the operator says which: select duly_compat.put_team(%, %, ''…'')', team_id,
      quote_literal(schema), team_id using errcode = '22023';
  end if;
  return duly.writable_workspace(called);
end $$;

-- The next number of a sequence, or the one that is given, which it will not give again.
create or replace function duly_compat.numbered(sequence regclass, given bigint) returns bigint
language plpgsql
as $$
begin
  if given is null then
    return nextval(sequence);
  elsif given < 1 then
    raise exception 'id: must be 1 or more' using errcode = '22023';
  end if;
  perform setval(sequence, greatest(given, nextval(sequence)));
  return given;
end $$;

-- The text for one person: {{FirstName}} and {{Name}} filled in. Raises 22023 where the person has none.
create or replace function duly_compat.personal(text text, first_name text, name text, whose text) returns text
language plpgsql immutable
as $$
begin
  if text ~ '\{\{\s*FirstName\s*\}\}' and first_name is null then
    raise exception 'recipient_id: % has no first name for {{FirstName}}; give it with duly.put_contact', whose using errcode = '22023';
  elsif text ~ '\{\{\s*Name\s*\}\}' and coalesce(name, first_name) is null then
    raise exception 'recipient_id: % has no name for {{Name}}; give it with duly.put_contact', whose using errcode = '22023';
  end if;
  -- Piece by piece, so that what stands in a name is not taken for a token; a backslash in it means itself.
  return (
    select string_agg(case when p.token is null then p.piece when p.token = 'Name' then coalesce(name, first_name) else first_name end, '' order by p.n)
    from (
      select s.piece, s.n, (regexp_match(s.piece, '^\{\{\s*(FirstName|Name)\s*\}\}$'))[1] as token
      from unnest(regexp_split_to_array(regexp_replace(text, '(\{\{\s*(?:FirstName|Name)\s*\}\})', E'\x01\\1\x01', 'g'), E'\x01'))
        with ordinality s (piece, n)) p);
end $$;

create or replace function duly_compat.msg_messages_write() returns trigger
language plpgsql security definer set search_path = duly, pg_temp
as $$
declare
  workspace duly.workspace;
  problem text;
  token text;
  entry record;
begin
  if tg_op = 'DELETE' then
    -- As ON DELETE CASCADE: its deliveries go from sight too, and what waits is canceled.
    for entry in
      select e.workspace_id, e.delivery_id from duly_compat.entry e
      where e.schema_name = tg_table_schema and e.message_number = old.id and not e.hidden
    loop
      perform duly_compat.hide(entry.workspace_id, entry.delivery_id);
    end loop;
    perform duly_compat.check_writable(m.workspace_id) from duly_compat.msg_message m
    where m.schema_name = tg_table_schema and m.id = old.id;
    delete from duly_compat.msg_message m where m.schema_name = tg_table_schema and m.id = old.id;
    return old;
  end if;
  workspace := duly_compat.team_workspace(tg_table_schema, new.team_id);
  problem := case
    when workspace.seal then
      format('body: workspace %s is sealed, and a message would stand here in clear until it has recipients; queue with duly.enqueue', workspace.name)
    when new.type is null or new.type not in ('email', 'sms', 'push', 'inapp') then
      format('type: %s is none of email, sms, push, inapp', coalesce(quote_literal(left(new.type, 40)), 'null'))
    when coalesce(new.body, '') ~ '^[[:space:]]*$' then 'body: is empty'
    when char_length(new.body) > 500000 then format('body: has %s characters; it may have 500000', char_length(new.body))
    when char_length(new.subject) > 255 then format('subject: has %s characters; it may have 255', char_length(new.subject))
    when concat(new.subject, new.body) ~ E'\x01' then 'body: has control characters; leave them out'
    when tg_op = 'UPDATE' and (new.id <> old.id or new.team_id is distinct from old.team_id) then 'id: is not changed; insert another'
  end;
  if problem is not null then
    raise exception '%', problem using errcode = '22023';
  end if;
  select t.found[1] into token from regexp_matches(concat(new.subject, ' ', new.body), '\{\{\s*([^{}]*?)\s*\}\}', 'g') t (found)
  where t.found[1] not in ('FirstName', 'Name') limit 1;
  if token is not null then
    raise exception 'body: {{%}} is no token; there are {{FirstName}} and {{Name}}', left(token, 40) using errcode = '22023';
  end if;
  if tg_op = 'UPDATE' then
    if (new.type, new.subject, new.body) is distinct from (old.type, old.subject, old.body) and exists (
      select from duly_compat.entry e where e.schema_name = tg_table_schema and e.message_number = old.id) then
      raise exception 'body: has recipients already; write another message' using errcode = '55000';
    end if;
    update duly_compat.msg_message m
    set type = new.type, subject = new.subject, body = new.body, updated_at = now()
    where m.schema_name = tg_table_schema and m.id = old.id and m.workspace_id = workspace.id;
  else
    new.id := duly_compat.numbered('duly_compat.message_numbers', new.id);
    insert into duly_compat.msg_message (schema_name, id, workspace_id, team_id, type, subject, body)
    values (tg_table_schema, new.id, workspace.id, new.team_id, new.type, new.subject, new.body);
  end if;
  execute format('select v.* from %I.msg_messages v where v.id = $1', tg_table_schema) into new using new.id;
  return new;
end $$;

create or replace function duly_compat.msg_deliveries_write() returns trigger
language plpgsql security definer set search_path = duly, pg_temp
as $$
declare
  installed duly_compat.installed := duly_compat.installation(tg_table_schema, 'prasso');
  workspace duly.workspace;
  message duly_compat.msg_message;
  address record;
  person duly.contact;
  whose text := format('%s:%s', new.recipient_type, new.recipient_id);
  entry record;
  queued record;
  delivery uuid;
  problem text;
begin
  if tg_op = 'INSERT' then
    select m.* into message from duly_compat.msg_message m
    where m.schema_name = tg_table_schema and m.id = new.msg_message_id
      and m.workspace_id = any (duly_compat.readable(tg_table_schema, 'prasso'));
    if message.id is not null then
      workspace := (select w from duly.workspace w where w.id = message.workspace_id);
      perform duly.writable_workspace(workspace.name);
    end if;
    problem := case
      when message.id is null then format('msg_message_id: there is no message %s', coalesce(new.msg_message_id::text, 'null'))
      when new.team_id is distinct from message.team_id then 'team_id: is another than the message''s'
      when new.status is distinct from 'queued' then
        format('status: %s says what has been; what is put in is queued', coalesce(quote_literal(left(new.status, 40)), 'null'))
      when new.recipient_type is null or new.recipient_type not in ('user', 'guest') then
        format('recipient_type: %s is none of user, guest', coalesce(quote_literal(left(new.recipient_type, 40)), 'null'))
      when new.recipient_id is null then 'recipient_id: is missing'
      when new.channel is null or new.channel not in ('email', 'sms', 'push', 'inapp') then
        format('channel: %s is none of email, sms, push, inapp', coalesce(quote_literal(left(new.channel, 40)), 'null'))
      when jsonb_typeof(coalesce(new.metadata, '{}')) <> 'object' then 'metadata: must be a JSON object'
    end;
    if problem is not null then
      raise exception '%', problem using errcode = '22023';
    end if;
    address := duly_compat.reached(workspace, whose, case new.channel when 'inapp' then 'in_app' else new.channel end, 'recipient_id');
    select c.* into person from duly.contact c where c.workspace_id = workspace.id and c.external_id = whose;
    delivery := duly_compat.queue(
      workspace, address.channel, address."to", duly_compat.personal(message.body, person.first_name, person.name, whose), now(), 2,
      installed.category, null, null,
      coalesce(new.metadata, '{}') || jsonb_strip_nulls(jsonb_build_object(
        'subject', duly_compat.personal(message.subject, person.first_name, person.name, whose))), '{"to": "recipient_id"}');
    new.id := duly_compat.numbered('duly_compat.entry_numbers', new.id);
    insert into duly_compat.entry
      (id, workspace_id, delivery_id, schema_name, number, message_number, recipient_type, recipient_id)
    values (delivery, workspace.id, delivery, tg_table_schema, new.id, message.id, new.recipient_type, new.recipient_id);
    queued := duly_compat.just_queued(workspace.id, delivery);
    new.status := case when queued.skipped then 'skipped' else 'queued' end;
    new.error := queued.problem;
    new.metadata := queued.metadata;
    new.provider_message_id := null;
    new.sent_at := null;
    new.delivered_at := null;
    new.failed_at := null;
    new.created_at := queued.created_at;
    new.updated_at := queued.created_at;
    return new;
  end if;
  select e.delivery_id, e.workspace_id into entry from duly_compat.entry e
  where e.schema_name = tg_table_schema and e.number = old.id;
  if tg_op = 'DELETE' then
    perform duly_compat.hide(entry.workspace_id, entry.delivery_id);
    return old;
  end if;
  perform duly_compat.refuse_changes(
    to_jsonb(old), to_jsonb(new), '{id,team_id,msg_message_id,recipient_type,recipient_id,channel,metadata,created_at}',
    'of what is queued it is not changed; delete the row and insert another');
  perform duly_compat.refuse_changes(
    to_jsonb(old), to_jsonb(new), '{provider_message_id,error,sent_at,delivered_at,failed_at}', 'Duly writes it');
  if new.status is distinct from old.status then
    perform duly_compat.set_status(entry.workspace_id, entry.delivery_id, new.status);
  end if;
  execute format('select v.* from %I.msg_deliveries v where v.id = $1', tg_table_schema) into new using old.id;
  return new;
end $$;

revoke all on all functions in schema duly_compat from public;

-- @view msg_messages
create or replace view :"schema".msg_messages with (security_barrier) as
select m.id, m.team_id, m.type, m.subject, m.body, m.created_at, m.updated_at
from duly_compat.msg_message m
where m.schema_name = :'schema' and m.workspace_id = any (array(select unnest(duly_compat.readable(:'schema', 'prasso'))));
comment on view :"schema".msg_messages is 'Duly: compatible SQL, prasso';
create or replace trigger compat instead of insert or update or delete on :"schema".msg_messages
  for each row execute function duly_compat.msg_messages_write();
grant select, insert, update, delete on :"schema".msg_messages to duly_daemon, duly_producer;
grant select on :"schema".msg_messages to duly_reader;

-- @view msg_deliveries
create or replace view :"schema".msg_deliveries with (security_barrier) as
select d.number as id, g.team_id, d.message_number as msg_message_id, d.recipient_type, d.recipient_id,
       case d.channel when 'in_app' then 'inapp' else d.channel end as channel,
       case when d.state in ('queued', 'leased', 'sending', 'uncertain') then 'queued'
            when d.state = 'sent' then 'sent'
            when d.state in ('delivered', 'read') then 'delivered'
            when d.state in ('failed', 'expired') then 'failed'
            else 'skipped' end as status,
       d.provider_id as provider_message_id,
       case when d.state not in ('sent', 'delivered', 'read') then nullif(concat_ws(': ', d.reason, d.detail), '') end as error,
       m.metadata, d.sent_at, d.delivered_at, case when d.state in ('failed', 'expired') then d.state_at end as failed_at,
       d.created_at, d.state_at as updated_at
from duly_compat.delivery d
join duly_compat.msg_message g on g.schema_name = d.schema_name and g.id = d.message_number
join duly.message m on m.id = d.message_id and m.workspace_id = d.workspace_id
where d.schema_name = :'schema' and d.workspace_id = any (array(select unnest(duly_compat.readable(:'schema', 'prasso'))));
alter view :"schema".msg_deliveries alter column status set default 'queued';
comment on view :"schema".msg_deliveries is 'Duly: compatible SQL, prasso';
create or replace trigger compat instead of insert or update or delete on :"schema".msg_deliveries
  for each row execute function duly_compat.msg_deliveries_write();
grant select, insert, update, delete on :"schema".msg_deliveries to duly_daemon, duly_producer;
grant select on :"schema".msg_deliveries to duly_reader;
