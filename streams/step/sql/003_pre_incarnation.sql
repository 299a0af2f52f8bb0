-- Names this database, in one place for everybody: another system id or timeline (restore, promotion) or another database of
-- the same server (a dump restored beside, a copy) is another incarnation.
create function step.this_incarnation() returns text language sql stable as $$
    select (select system_identifier from pg_control_system())
        || '/' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8)
        || '/' || (select oid from pg_database where datname = current_database())
$$;

alter table step.incarnation add column incarnation text;
update step.incarnation set incarnation = case
    when system_identifier || '/' || lpad(upper(to_hex(timeline)), 8, '0') = substring(step.this_incarnation() from '^.*(?=/)')
    then step.this_incarnation() else system_identifier || '/' || timeline end;
alter table step.incarnation
    alter column incarnation set not null, drop column system_identifier, drop column timeline;
