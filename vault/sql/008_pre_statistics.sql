-- ANALYZE copies up to a hundred values of a column into pg_statistic, where they outlive the row: wrapped keys, blind indexes
-- and sealed addresses of people who were erased. No statistics are kept of what names a person or opens something. The
-- planner does not need them: look-ups by blind index ask for one row each.
do $$
declare
    secret record;
begin
    -- Only the parents of day partitions: what is known of a partition goes with it when it is dropped.
    for secret in
        select c.oid::regclass as place, a.attname as name
        from pg_class c join pg_attribute a on a.attrelid = c.oid
        where c.relnamespace = 'vault'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
            and a.attnum > 0 and not a.attisdropped and a.atttypid = 'bytea'::regtype
    loop
        execute format('alter table only %s alter column %I set statistics 0', secret.place, secret.name);
    end loop;
end
$$;

-- A target of 0 leaves what was gathered before. Only a change of type removes it in every release of PostgreSQL; to the
-- same type it writes no row anew. A column that a trigger names must be let go of for that time.
drop trigger guard_key on vault.keys;
do $$
declare
    secret record;
begin
    for secret in
        select c.oid::regclass as place, a.attname as name
        from pg_class c join pg_attribute a on a.attrelid = c.oid
        where c.relnamespace = 'vault'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
            and a.attnum > 0 and not a.attisdropped and a.atttypid = 'bytea'::regtype
    loop
        execute format('alter table %s alter column %I type bytea using %I', secret.place, secret.name, secret.name);
    end loop;
end
$$;
create trigger guard_key before insert or delete or update of subject, tenant, class, gen, wrapped, kcv
    on vault.keys for each row execute function vault.guard_key();
alter table vault.keys enable always trigger guard_key;

-- A row that was changed or deleted stays in its page until vacuum comes by. Here it comes with the first one.
alter table vault.keys set (autovacuum_vacuum_threshold = 0, autovacuum_vacuum_scale_factor = 0);
alter table vault.addresses set (autovacuum_vacuum_threshold = 0, autovacuum_vacuum_scale_factor = 0);
alter table vault.erased_index set (autovacuum_vacuum_threshold = 0, autovacuum_vacuum_scale_factor = 0);
alter table vault.evidence_index set (autovacuum_vacuum_threshold = 0, autovacuum_vacuum_scale_factor = 0);
alter table vault.profiles set (autovacuum_vacuum_threshold = 0, autovacuum_vacuum_scale_factor = 0);
alter table vault.links set (autovacuum_vacuum_threshold = 0, autovacuum_vacuum_scale_factor = 0);
alter table vault.day_keys set (autovacuum_vacuum_threshold = 0, autovacuum_vacuum_scale_factor = 0);
