-- BuildOS: message_templates and message_jobs over Duly's tables, and of pgmq what its code calls. After base.sql, as
-- rundown.sql is. Each part that begins with `-- @` can be left out.

-- The variables of a text as Duly declares them. `given`: name → a default, null where it must be given, or a whole
-- declaration {"type", "default", "example"}. Raises 22023.
create or replace function duly_compat.declared(parts jsonb, given jsonb) returns jsonb
language plpgsql immutable
as $$
declare
  declared jsonb := '{}';
  name text;
  value jsonb;
begin
  if jsonb_typeof(coalesce(given, '{}')) <> 'object' then
    raise exception 'template_vars: must be a JSON object of names and defaults' using errcode = '22023';
  end if;
  for name in select distinct p ->> 'name' from jsonb_array_elements(parts) p where jsonb_typeof(p) = 'object' loop
    value := coalesce(given -> name, 'null');
    if jsonb_typeof(value) = 'object' then
      if value - '{type,default,example}'::text[] <> '{}'
         or coalesce(value ->> 'type', 'text') not in ('text', 'number', 'date', 'time', 'url', 'flag') then
        raise exception 'template_vars.%: must have a type out of text, number, date, time, url, flag, and default and example',
          name using errcode = '22023';
      end if;
      value := '{"type": "text"}' || value;
    elsif jsonb_typeof(value) = 'array' then
      raise exception 'template_vars.%: must be a text, a number, true, false or null', name using errcode = '22023';
    else
      value := jsonb_strip_nulls(jsonb_build_object(
        'type', case jsonb_typeof(value) when 'number' then 'number' when 'boolean' then 'flag' else 'text' end, 'default', value));
    end if;
    if value -> 'default' <> 'null' and duly.value_problem(value ->> 'type', value -> 'default') is not null then
      raise exception 'template_vars.%: the default %', name, duly.value_problem(value ->> 'type', value -> 'default')
        using errcode = '22023';
    end if;
    declared := declared || jsonb_build_object(name, value);
  end loop;
  return declared;
end $$;

-- Makes a new version of a template, the first with this id. Its name: as it was, or made of the application's.
create or replace function duly_compat.put_template(
  workspace duly.workspace, first_id uuid, name text, content text, vars jsonb
) returns void
language plpgsql
as $$
#variable_conflict use_variable
declare
  called text;
  version integer;
  parts jsonb;
  declared jsonb;
  new_id uuid;
begin
  if coalesce(btrim(name), '') = '' or char_length(name) > 200 or name ~ '[[:cntrl:]]' then
    raise exception 'name: must have 1 to 200 characters, and no control characters' using errcode = '22023';
  elsif content is null or content ~ '^[[:space:]]*$' then
    raise exception 'content_template: is empty' using errcode = '22023';
  elsif char_length(content) > 100000 then
    raise exception 'content_template: has % characters; it may have 100000', char_length(content) using errcode = '22023';
  end if;
  parts := duly.text_parts(content, 'content_template');
  declared := duly_compat.declared(parts, vars);
  if pg_column_size(declared) > 32768 then
    raise exception 'template_vars: are larger than 32 KiB' using errcode = '22023';
  end if;
  perform pg_advisory_xact_lock(hashtextextended(first_id::text, 0));
  select t.name into called from duly.template t where t.id = first_id and t.workspace_id = workspace.id;
  if called is null then
    if name ~ '^[a-z][a-z0-9_.-]{0,79}$' and not exists (
      select from duly.template t where t.workspace_id = workspace.id and t.name = name) then
      called := name;
    else
      called := left('t_' || btrim(regexp_replace(lower(name), '[^a-z0-9]+', '_', 'g'), '_'), 40) || '_' || replace(first_id::text, '-', '');
    end if;
    new_id := first_id;
    version := 1;
  else
    new_id := duly.new_id();
    select max(t.version) + 1 into version from duly.template t where t.workspace_id = workspace.id and t.name = called;
  end if;
  insert into duly.template (id, workspace_id, name, version, variables)
  values (new_id, workspace.id, called, version, declared);
  insert into duly.template_text (id, workspace_id, template_id, body, parts)
  values (duly.new_id(), workspace.id, new_id, content, jsonb_build_object('body', parts));
  insert into duly_compat.template_name as n (id, workspace_id, name) values (first_id, workspace.id, name)
  on conflict on constraint template_name_pkey do update set name = excluded.name;
end $$;

create or replace function duly_compat.message_templates_write() returns trigger
language plpgsql security definer set search_path = duly, pg_temp
as $$
declare
  workspace duly.workspace := duly_compat.target(tg_table_schema, 'buildos');
begin
  if tg_op = 'DELETE' then
    update duly.template t set state = 'retired'
    where t.workspace_id = workspace.id and t.state <> 'retired'
      and t.name = (select f.name from duly.template f where f.id = old.id and f.workspace_id = workspace.id);
    return case when found then old end;
  elsif tg_op = 'INSERT' then
    new.id := coalesce(new.id, gen_random_uuid());
    if exists (select from duly.template t where t.id = new.id and t.workspace_id = workspace.id) then
      raise exception 'id: there is a template % already', new.id using errcode = '23505';
    end if;
    perform duly_compat.put_template(workspace, new.id, new.name, new.content_template, new.template_vars);
  elsif new.id <> old.id then
    raise exception 'id: is not changed' using errcode = '22023';
  elsif (new.content_template, new.template_vars) is distinct from (old.content_template, old.template_vars) then
    perform duly_compat.put_template(workspace, new.id, new.name, new.content_template, new.template_vars);
  elsif new.name is distinct from old.name then
    if coalesce(btrim(new.name), '') = '' or char_length(new.name) > 200 or new.name ~ '[[:cntrl:]]' then
      raise exception 'name: must have 1 to 200 characters, and no control characters' using errcode = '22023';
    end if;
    insert into duly_compat.template_name as n (id, workspace_id, name) values (new.id, workspace.id, new.name)
    on conflict (id, workspace_id) do update set name = excluded.name;
  end if;
  execute format('select v.* from %I.message_templates v where v.id = $1', tg_table_schema) into new using new.id;
  return new;
end $$;

-- Values for a template's variables as it wants them: a number or a flag for a text becomes one.
create or replace function duly_compat.values_for(workspace integer, template text, given jsonb) returns jsonb
language sql stable
as $$
  select coalesce(jsonb_object_agg(g.key, case
           when coalesce(v.declared ->> 'type', 'text') <> 'number' and jsonb_typeof(g.value) = 'number'
                or coalesce(v.declared ->> 'type', 'text') <> 'flag' and jsonb_typeof(g.value) = 'boolean'
             then to_jsonb(g.value #>> '{}')
           else g.value end), '{}')
  from jsonb_each(given) g
  left join lateral (
    select t.variables -> g.key as declared from duly.template t
    where t.workspace_id = workspace and t.name = template and t.state = 'live' order by t.version desc limit 1) v on true
$$;

create or replace function duly_compat.message_jobs_write() returns trigger
language plpgsql security definer set search_path = duly, pg_temp
as $$
declare
  installed duly_compat.installed := duly_compat.installation(tg_table_schema, 'buildos');
  workspace duly.workspace;
  called text;
  entry record;
  queued record;
  delivery uuid;
begin
  if tg_op = 'INSERT' then
    workspace := duly_compat.target(tg_table_schema, 'buildos');
    if new.status is null or new.status not in ('pending', 'scheduled') then
      raise exception 'status: % says what has been; what is put in is pending or scheduled', coalesce(quote_literal(left(new.status, 40)), 'null')
        using errcode = '22023', hint = 'Move over what waits, and keep the old table for what was sent.';
    elsif coalesce(new.retry_count, 0) <> 0 then
      raise exception 'retry_count: Duly counts it; put it in with 0' using errcode = '22023';
    elsif coalesce(new.max_retries, 3) not between 0 and 100 then
      raise exception 'max_retries: must be from 0 to 100' using errcode = '22023';
    elsif jsonb_typeof(coalesce(new.metadata, '{}')) <> 'object' then
      raise exception 'metadata: must be a JSON object' using errcode = '22023';
    elsif jsonb_typeof(coalesce(nullif(new.template_vars, 'null'), '{}')) <> 'object' then
      raise exception 'template_vars: must be a JSON object' using errcode = '22023';
    end if;
    if new.template_id is not null then
      select t.name into called from duly.template t where t.id = new.template_id and t.workspace_id = workspace.id;
      if called is null then
        raise exception 'template_id: there is no template % in workspace %', new.template_id, workspace.name using errcode = '22023';
      end if;
    end if;
    -- As its own worker did: the template with its values, or the text as it is.
    if called is not null and nullif(new.template_vars, 'null') is not null then
      delivery := duly_compat.queue(
        workspace, 'sms', new.recipient_phone, null, new.scheduled_for, duly_compat.upwards(coalesce(new.priority, 0)),
        installed.category, called, duly_compat.values_for(workspace.id, called, new.template_vars), new.metadata,
        '{"to": "recipient_phone", "due_at": "scheduled_for", "template": "template_id"}');
    else
      delivery := duly_compat.queue(
        workspace, 'sms', new.recipient_phone, new.message_content, new.scheduled_for, duly_compat.upwards(coalesce(new.priority, 0)),
        installed.category, null, null, new.metadata,
        '{"to": "recipient_phone", "due_at": "scheduled_for", "body": "message_content"}');
    end if;
    insert into duly_compat.entry (id, workspace_id, delivery_id, user_id, priority, most_attempts)
    values (coalesce(new.id, delivery), workspace.id, delivery, new.user_id, new.priority, new.max_retries);
    queued := duly_compat.just_queued(workspace.id, delivery);
    if nullif(new.template_vars, 'null') is null then
      new.template_id := null; -- its text is the job's own
      new.template_vars := null;
    else
      new.template_vars := queued.variables;
    end if;
    new.id := coalesce(new.id, delivery);
    new.message_content := queued.body;
    new.status := case when queued.skipped then 'failed' when queued.due_at > now() then 'scheduled' else 'pending' end;
    new.scheduled_for := queued.due_at;
    new.priority := coalesce(new.priority, 0);
    new.retry_count := 0;
    new.max_retries := coalesce(new.max_retries, 3);
    new.metadata := queued.metadata;
    new.twilio_sid := null;
    new.error_details := case when queued.skipped then jsonb_build_object(
      'message', queued.problem, 'reason', split_part(queued.problem, ':', 1), 'timestamp', queued.created_at, 'final_attempt', true) end;
    new.created_at := queued.created_at;
    new.sent_at := null;
    return new;
  end if;
  select e.delivery_id, e.workspace_id, e.priority into entry from duly_compat.delivery e
  where e.id = old.id and e.workspace_id = any (duly_compat.readable(tg_table_schema, 'buildos'));
  if tg_op = 'DELETE' then
    perform duly_compat.hide(entry.workspace_id, entry.delivery_id);
    return old;
  end if;
  perform duly_compat.refuse_changes(
    to_jsonb(old), to_jsonb(new), '{id,user_id,recipient_phone,message_content,template_id,template_vars,metadata,created_at}',
    'of what is queued it is not changed; delete the row and insert another');
  perform duly_compat.refuse_changes(
    to_jsonb(old), to_jsonb(new), '{retry_count,max_retries,twilio_sid,sent_at,error_details}', 'Duly writes it');
  if new.status is distinct from old.status then
    perform duly_compat.set_status(entry.workspace_id, entry.delivery_id, new.status);
  end if;
  if (new.scheduled_for, new.priority) is distinct from (old.scheduled_for, old.priority) then
    perform duly_compat.move(
      entry.workspace_id, entry.delivery_id, coalesce(new.scheduled_for, now()),
      case when new.priority is distinct from old.priority then duly_compat.upwards(new.priority) else entry.priority end,
      'scheduled_for');
    if new.priority is distinct from old.priority then
      update duly_compat.entry e set priority = new.priority
      where e.delivery_id = entry.delivery_id and e.workspace_id = entry.workspace_id;
    end if;
  end if;
  execute format('select v.* from %I.message_jobs v where v.id = $1', tg_table_schema) into new using old.id;
  return new;
end $$;

-- What waits in a workspace's two queues, as pgmq.metrics says it.
create or replace function duly_compat.queue_metrics(schema name, wanted text)
returns table (
  queue_name text, queue_length bigint, newest_msg_age_sec integer, oldest_msg_age_sec integer, total_messages bigint,
  scrape_time timestamptz
)
language plpgsql stable security definer set search_path = duly, pg_temp
as $$
#variable_conflict use_variable
begin
  if wanted is null or wanted not in ('sms_queue', 'sms_priority_queue') then
    raise exception 'queue_name: % is none of sms_queue, sms_priority_queue', coalesce(quote_literal(left(wanted, 40)), 'null')
      using errcode = '22023';
  end if;
  return query
  select wanted, count(*), extract(epoch from now() - max(d.created_at))::integer,
         extract(epoch from now() - min(d.created_at))::integer, count(*), now()
  from duly.delivery_row d
  where d.workspace_id = any (duly_compat.readable(schema, 'buildos')) and d.state = 'queued' and d.due_at <= now()
    and d.channel = 'sms' and (d.priority = 1) = (wanted = 'sms_priority_queue');
end $$;

-- A job that is sent to pgmq: it is queued already, by its row in message_jobs. What has none would be lost, so it is
-- refused with 22023. Returns its number, which is nobody's.
create or replace function duly_compat.queued_already(schema name, message jsonb) returns bigint
language plpgsql stable security definer set search_path = duly, pg_temp
as $$
begin
  if not exists (select from duly_compat.delivery d
                 where d.id = duly_compat.as_uuid(message ->> 'job_id')
                   and d.workspace_id = any (duly_compat.readable(queued_already.schema, 'buildos'))) then
    raise exception 'message: has no job_id of a row in message_jobs, which is what Duly sends' using errcode = '22023';
  end if;
  return 0;
end $$;

revoke all on all functions in schema duly_compat from public;
grant execute on function duly_compat.queued_already(name, jsonb) to duly_daemon, duly_producer;
grant execute on function duly_compat.queue_metrics(name, text) to duly_daemon, duly_producer, duly_reader;

-- @view message_templates
create or replace view :"schema".message_templates with (security_barrier) as
select f.id, coalesce(n.name, f.name) as name, x.body as content_template, t.variables as template_vars, f.created_at,
       t.created_at as updated_at
from duly.template f
join lateral (
  select v.* from duly.template v where v.workspace_id = f.workspace_id and v.name = f.name and v.state = 'live'
  order by v.version desc limit 1) t on true
join lateral (
  select t2.body from duly.template_text t2 where t2.template_id = t.id and t2.workspace_id = t.workspace_id
  order by t2.channel, t2.language, t2.style, t2.number limit 1) x on true
left join duly_compat.template_name n on n.id = f.id and n.workspace_id = f.workspace_id
where f.version = 1
  and f.workspace_id = any (array(select unnest(duly_compat.readable(:'schema', 'buildos'))));
alter view :"schema".message_templates alter column id set default gen_random_uuid();
alter view :"schema".message_templates alter column template_vars set default '{}';
comment on view :"schema".message_templates is 'Duly: compatible SQL, buildos';
create or replace trigger compat instead of insert or update or delete on :"schema".message_templates
  for each row execute function duly_compat.message_templates_write();
grant select, insert, update, delete on :"schema".message_templates to duly_daemon, duly_producer;
grant select on :"schema".message_templates to duly_reader;

-- @view message_jobs
create or replace view :"schema".message_jobs with (security_barrier) as
select d.id, coalesce(d.user_id, duly_compat.as_uuid(c.external_id)) as user_id, d."to" as recipient_phone,
       m.body as message_content, f.id as template_id,
       case when d.state in ('queued', 'leased') and d.next_at > now() and d.attempts = 0 then 'scheduled'
            when d.state = 'queued' then 'pending'
            when d.state in ('leased', 'sending', 'uncertain') then 'processing'
            when d.state in ('sent', 'delivered', 'read') then 'sent'
            else 'failed' end as status,
       d.due_at as scheduled_for,
       coalesce(d.given_priority, case d.priority when 1 then 10 when 2 then 0 else -1 end) as priority,
       greatest(d.attempts - case when d.state in ('queued', 'leased') then 0 else 1 end, 0)::integer as retry_count,
       coalesce(d.most_attempts, 3) as max_retries, m.metadata, d.provider_id as twilio_sid,
       case when d.reason is not null and d.state not in ('sent', 'delivered', 'read') then jsonb_build_object(
         'message', concat_ws(': ', d.reason, d.detail), 'reason', d.reason, 'timestamp', d.state_at,
         'final_attempt', d.state in ('failed', 'expired', 'skipped', 'canceled')) end as error_details,
       d.created_at, d.sent_at, case when m.template is not null then m.variables end as template_vars
from duly_compat.delivery d
join duly.message m on m.id = d.message_id and m.workspace_id = d.workspace_id
left join duly.template f
  on f.workspace_id = m.workspace_id and f.name = split_part(m.template, '@', 1) and f.version = 1
left join duly.address a
  on a.address_key = d.address_key and a.workspace_id = d.workspace_id and a.channel = d.channel
left join duly.contact c on c.id = a.contact_id and c.workspace_id = a.workspace_id
where d.workspace_id = any (array(select unnest(duly_compat.readable(:'schema', 'buildos'))));
alter view :"schema".message_jobs alter column id set default gen_random_uuid();
alter view :"schema".message_jobs alter column status set default 'pending';
alter view :"schema".message_jobs alter column priority set default 0;
alter view :"schema".message_jobs alter column retry_count set default 0;
alter view :"schema".message_jobs alter column max_retries set default 3;
alter view :"schema".message_jobs alter column metadata set default '{}';
comment on view :"schema".message_jobs is 'Duly: compatible SQL, buildos';
create or replace trigger compat instead of insert or update or delete on :"schema".message_jobs
  for each row execute function duly_compat.message_jobs_write();
grant select, insert, update, delete on :"schema".message_jobs to duly_daemon, duly_producer;
grant select on :"schema".message_jobs to duly_reader;

-- @schema pgmq
create schema if not exists pgmq;
comment on schema pgmq is 'Duly: compatible SQL, buildos';
grant usage on schema pgmq to duly_daemon, duly_producer, duly_reader;
create or replace function pgmq.metrics(text)
returns table (
  queue_name text, queue_length bigint, newest_msg_age_sec integer, oldest_msg_age_sec integer, total_messages bigint,
  scrape_time timestamptz
)
language sql
begin atomic
  select t.queue_name, t.queue_length, t.newest_msg_age_sec, t.oldest_msg_age_sec, t.total_messages, t.scrape_time
  from duly_compat.queue_metrics(:'schema', $1) t;
end;
revoke all on function pgmq.metrics(text) from public;
grant execute on function pgmq.metrics(text) to duly_daemon, duly_producer, duly_reader;

-- @schema pgmq_public
-- The queue that the producer writes to besides message_jobs: Duly has the job already, so there is nothing to keep.
create schema if not exists pgmq_public;
comment on schema pgmq_public is 'Duly: compatible SQL, buildos';
grant usage on schema pgmq_public to duly_daemon, duly_producer;
create or replace function pgmq_public.send(queue_name text, message jsonb, sleep_seconds integer default 0) returns setof bigint
language sql
begin atomic
  select duly_compat.queued_already(:'schema', message);
end;
create or replace function pgmq_public.read(queue_name text, sleep_seconds integer default 0, n integer default 1)
returns table (msg_id bigint, read_ct integer, enqueued_at timestamptz, vt timestamptz, message jsonb)
language sql
begin atomic
  select null::bigint, null::integer, null::timestamptz, null::timestamptz, null::jsonb where false;
end;
create or replace function pgmq_public.delete(queue_name text, message_id bigint) returns boolean
language sql
begin atomic
  select false;
end;
revoke all on all functions in schema pgmq_public from public;
grant execute on all functions in schema pgmq_public to duly_daemon, duly_producer;
