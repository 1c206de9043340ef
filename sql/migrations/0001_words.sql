-- The schema, its closed lists and its roles.
--
-- Roles belong to the whole cluster, so they may exist already. Whoever migrates needs CREATEROLE once, or
-- finds the three roles made beforehand.

create schema if not exists duly;

do $$
declare
  wanted text;
begin
  foreach wanted in array array['duly_daemon', 'duly_producer', 'duly_reader'] loop
    if not exists (select from pg_roles where rolname = wanted) then
      begin
        execute format('create role %I nologin', wanted);
      exception
        when duplicate_object or unique_violation then null; -- another database's migration was faster
        when insufficient_privilege then
          raise exception 'role % is missing and % may not create it', wanted, current_user
            using hint = format('As a superuser: create role %I nologin;', wanted);
      end;
    end if;
  end loop;
end $$;

create type duly.channel as enum ('sms', 'whatsapp', 'rcs', 'telegram', 'email', 'push', 'in_app');

create type duly.state as enum (
  'queued', 'leased', 'sending', 'uncertain', 'sent', 'delivered', 'read',
  'failed', 'expired', 'skipped', 'canceled'
);

-- A version 7 UUID (RFC 9562): it begins with the time, so that new rows land on the newest index pages.
-- Postgres has uuidv7() only from 18 on.
create function duly.new_id() returns uuid
language sql volatile parallel safe
as $$
  select encode(
    set_bit(set_bit(
      overlay(uuid_send(gen_random_uuid())
        placing substring(int8send((extract(epoch from clock_timestamp()) * 1000)::bigint) from 3)
        from 1 for 6),
      52, 1), 53, 1),
    'hex')::uuid
$$;

-- The smallest id a delivery created at that moment can have: turns "since" into a range of the primary key.
create function duly.first_id_at(moment timestamptz) returns uuid
language sql immutable parallel safe
as $$
  select (lpad(to_hex((extract(epoch from moment) * 1000)::bigint), 12, '0') || '70008000000000000000')::uuid
$$;
