-- Scheduled messages to patients: patients, scheduled_messages and message_delivery_attempts over Duly's tables. After
-- base.sql, as rundown.sql is. Each part that begins with `-- @` can be left out.

-- Patients are contacts, by their ids as Duly's external ids.
create or replace function duly_compat.patients_write() returns trigger
language plpgsql security definer set search_path = duly, pg_temp
as $$
declare
  workspace duly.workspace := duly_compat.target(tg_table_schema, 'patients');
begin
  if tg_op = 'DELETE' then
    raise exception 'patients: a person is removed with duly.erase, which says why and keeps who must not be written to'
      using errcode = '0A000';
  elsif coalesce(new.id, '') = '' then
    raise exception 'id: is missing' using errcode = '22023';
  elsif tg_op = 'UPDATE' and new.id <> old.id then
    raise exception 'id: is not changed' using errcode = '22023';
  elsif tg_op = 'INSERT' and exists (
    select from duly.contact c where c.workspace_id = workspace.id and c.external_id = new.id) then
    raise exception 'id: there is a patient % already', quote_literal(left(new.id, 100)) using errcode = '23505';
  end if;
  perform duly_compat.put_person(
    workspace, new.id, new.name, null, new.timezone, null,
    jsonb_build_object('sms', new.phone, 'whatsapp', new.whatsapp, 'telegram', new.telegram_chat_id, 'email', new.email),
    case when tg_op = 'UPDATE' then
      jsonb_build_object('sms', old.phone, 'whatsapp', old.whatsapp, 'telegram', old.telegram_chat_id, 'email', old.email) end,
    '{"external_id": "id", "addresses.sms": "phone", "addresses.whatsapp": "whatsapp", "addresses.telegram": "telegram_chat_id",
      "addresses.email": "email", "time_zone": "timezone"}');
  execute format('select v.* from %I.patients v where v.id = $1', tg_table_schema) into new using new.id;
  return new;
end $$;

create or replace function duly_compat.scheduled_messages_write() returns trigger
language plpgsql security definer set search_path = duly, pg_temp
as $$
declare
  installed duly_compat.installed := duly_compat.installation(tg_table_schema, 'patients');
  workspace duly.workspace;
  address record;
  entry record;
  queued record;
  delivery uuid;
begin
  if tg_op = 'INSERT' then
    workspace := duly_compat.target(tg_table_schema, 'patients');
    if new.status is distinct from 'pending' then
      raise exception 'status: % says what has been; what is put in is pending', coalesce(quote_literal(left(new.status, 40)), 'null')
        using errcode = '22023', hint = 'Move over what waits, and keep the old table for what was sent.';
    elsif coalesce(new.attempts, 0) <> 0 then
      raise exception 'attempts: Duly counts them; put it in with 0' using errcode = '22023';
    elsif coalesce(new.patient_id, '') = '' then
      raise exception 'patient_id: is missing' using errcode = '22023';
    elsif new.platform is null or new.platform not in ('telegram', 'whatsapp', 'sms', 'email') then
      raise exception 'platform: % is none of telegram, whatsapp, sms, email', coalesce(quote_literal(left(new.platform, 40)), 'null')
        using errcode = '22023';
    end if;
    address := duly_compat.reached(workspace, new.patient_id, new.platform, 'patient_id');
    delivery := duly_compat.queue(
      workspace, address.channel, address."to", new.message_content, new.scheduled_time, 2, installed.category, null, null, null,
      '{"body": "message_content", "due_at": "scheduled_time"}');
    insert into duly_compat.entry (id, workspace_id, delivery_id) values (coalesce(new.id, delivery), workspace.id, delivery);
    queued := duly_compat.just_queued(workspace.id, delivery);
    new.id := coalesce(new.id, delivery);
    new.message_content := queued.body;
    new.scheduled_time := queued.due_at;
    new.status := case when queued.skipped then 'failed' else 'pending' end;
    new.last_error := queued.problem;
    new.attempts := 0;
    new.created_at := queued.created_at;
    new.updated_at := queued.created_at;
    return new;
  end if;
  select e.delivery_id, e.workspace_id, e.priority into entry from duly_compat.delivery e
  where e.id = old.id and e.workspace_id = any (duly_compat.readable(tg_table_schema, 'patients'));
  if tg_op = 'DELETE' then
    perform duly_compat.hide(entry.workspace_id, entry.delivery_id);
    return old;
  end if;
  perform duly_compat.refuse_changes(
    to_jsonb(old), to_jsonb(new), '{id,patient_id,message_content,platform,created_at}',
    'of what is queued it is not changed; delete the row and insert another');
  perform duly_compat.refuse_changes(to_jsonb(old), to_jsonb(new), '{attempts,last_error}', 'Duly writes it');
  if new.status is distinct from old.status then
    perform duly_compat.set_status(entry.workspace_id, entry.delivery_id, new.status);
  end if;
  if new.scheduled_time is distinct from old.scheduled_time then
    perform duly_compat.move(entry.workspace_id, entry.delivery_id, new.scheduled_time, entry.priority, 'scheduled_time');
  end if;
  execute format('select v.* from %I.scheduled_messages v where v.id = $1', tg_table_schema) into new using old.id;
  return new;
end $$;

revoke all on all functions in schema duly_compat from public;

-- @view patients
create or replace view :"schema".patients with (security_barrier) as
select p.external_id as id, p.name, p.phone, p.whatsapp, p.telegram as telegram_chat_id, p.email, p.time_zone as timezone,
       p.created_at, p.updated_at
from duly_compat.person p
where p.workspace_id = any (array(select unnest(duly_compat.readable(:'schema', 'patients')))) and p.external_id is not null;
comment on view :"schema".patients is 'Duly: compatible SQL, patients';
create or replace trigger compat instead of insert or update or delete on :"schema".patients
  for each row execute function duly_compat.patients_write();
grant select, insert, update, delete on :"schema".patients to duly_daemon, duly_producer;
grant select on :"schema".patients to duly_reader;

-- @view scheduled_messages
create or replace view :"schema".scheduled_messages with (security_barrier) as
select d.id, c.external_id as patient_id, m.body as message_content, d.due_at as scheduled_time,
       case when d.state = 'queued' then 'pending'
            when d.state in ('leased', 'sending', 'uncertain') then 'processing'
            when d.state in ('sent', 'delivered', 'read') then 'sent'
            else 'failed' end as status,
       d.channel as platform, d.created_at, d.state_at as updated_at, d.attempts::integer as attempts,
       case when d.state not in ('sent', 'delivered', 'read') then nullif(concat_ws(': ', d.reason, d.detail), '') end as last_error
from duly_compat.delivery d
join duly.message m on m.id = d.message_id and m.workspace_id = d.workspace_id
left join duly.address a
  on a.address_key = d.address_key and a.workspace_id = d.workspace_id and a.channel = d.channel
left join duly.contact c on c.id = a.contact_id and c.workspace_id = a.workspace_id
where d.workspace_id = any (array(select unnest(duly_compat.readable(:'schema', 'patients'))));
alter view :"schema".scheduled_messages alter column id set default gen_random_uuid();
alter view :"schema".scheduled_messages alter column status set default 'pending';
alter view :"schema".scheduled_messages alter column attempts set default 0;
comment on view :"schema".scheduled_messages is 'Duly: compatible SQL, patients';
create or replace trigger compat instead of insert or update or delete on :"schema".scheduled_messages
  for each row execute function duly_compat.scheduled_messages_write();
grant select, insert, update, delete on :"schema".scheduled_messages to duly_daemon, duly_producer;
grant select on :"schema".scheduled_messages to duly_reader;

-- @view message_delivery_attempts
create or replace view :"schema".message_delivery_attempts with (security_barrier) as
select md5(t.delivery_id::text || ' ' || t.lease_token::text)::uuid as id, d.id as message_id, t.began_at as attempt_time,
       case t.outcome when 'accepted' then 'success' when 'rejected' then 'failed' else 'unknown' end as status,
       case when t.outcome <> 'accepted' then nullif(concat_ws(': ', t.reason, t.detail), '') end as error_message,
       jsonb_strip_nulls(jsonb_build_object(
         'provider_id', t.provider_id, 'http_status', t.http_status, 'code', t.code, 'account', t.account,
         'took_ms', t.took_ms)) as response_data
from duly_compat.delivery d
join duly.attempt t on t.delivery_id = d.delivery_id and t.workspace_id = d.workspace_id
where d.workspace_id = any (array(select unnest(duly_compat.readable(:'schema', 'patients'))));
comment on view :"schema".message_delivery_attempts is 'Duly: compatible SQL, patients';
create or replace trigger compat instead of insert or update or delete on :"schema".message_delivery_attempts
  for each row execute function duly_compat.refuse_write('shows what Duly has done; it writes this itself');
grant select, insert, update, delete on :"schema".message_delivery_attempts to duly_daemon, duly_producer;
grant select on :"schema".message_delivery_attempts to duly_reader;
