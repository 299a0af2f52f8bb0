-- What no statement may do, whoever sends it (laws L2, pitfalls P1, P3, P9). The guards hold also where a restored row is
-- written by hand; they lock the subject, so that a late commit waits for the erasure and then fails.

create function vault.now_ms() returns bigint language sql volatile as $$
    select floor(extract(epoch from clock_timestamp()) * 1000)::bigint
$$;

-- Names this database: another system id or timeline (restore, promotion) or another database is another incarnation.
create function vault.incarnation() returns text language sql stable as $$
    select (select system_identifier from pg_control_system())
        || '/' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)
        || '/' || (select oid from pg_database where datname = current_database())
$$;

create function vault.guard_key() returns trigger language plpgsql as $$
declare
    standing text;
begin
    if tg_op = 'DELETE' then
        raise exception 'key rows are destroyed, never deleted' using errcode = 'check_violation';
    end if;
    if tg_op = 'UPDATE' then
        if old.wrapped is null and new.wrapped is not null then
            raise exception 'a destroyed key does not come back' using errcode = 'check_violation';
        end if;
        if (old.subject, old.tenant, old.class, old.gen, old.kcv)
            is distinct from (new.subject, new.tenant, new.class, new.gen, new.kcv) then
            raise exception 'a key stays what it is' using errcode = 'check_violation';
        end if;
    end if;
    if new.wrapped is null then
        return new;
    end if;
    select state into standing from vault.subjects where subject = new.subject and tenant = new.tenant for share;
    if standing is null then
        raise exception 'a key needs a subject' using errcode = 'check_violation';
    end if;
    if standing in ('erased', 'lost') and (tg_op = 'INSERT' or new.class <> 'evidence') then
        raise exception 'an erased subject gets no key' using errcode = 'check_violation';
    end if;
    return new;
end
$$;
create trigger guard_key before insert or delete or update of subject, tenant, class, gen, wrapped, kcv
    on vault.keys for each row execute function vault.guard_key();
alter table vault.keys enable always trigger guard_key;

create function vault.guard_subject() returns trigger language plpgsql as $$
begin
    if tg_op = 'DELETE' then
        raise exception 'subjects are erased, never deleted' using errcode = 'check_violation';
    end if;
    if old.state = 'erased' and new is distinct from old then
        raise exception 'a fence does not change' using errcode = 'check_violation';
    end if;
    if new.state = 'erased' and old.state <> 'erased' and exists (
        select from vault.keys
        where subject = new.subject and tenant = new.tenant and class <> 'evidence' and wrapped is not null
    ) then
        raise exception 'keys go before the fence stands' using errcode = 'check_violation';
    end if;
    return new;
end
$$;
create trigger guard_subject before update or delete on vault.subjects
    for each row execute function vault.guard_subject();
alter table vault.subjects enable always trigger guard_subject;

create function vault.guard_address() returns trigger language plpgsql as $$
declare
    standing text;
begin
    select state into standing from vault.subjects where subject = new.subject and tenant = new.tenant for share;
    if standing in ('erased', 'lost') then
        raise exception 'an erased subject gets no address' using errcode = 'check_violation';
    end if;
    return new;
end
$$;
create trigger guard_address before insert or update on vault.addresses
    for each row execute function vault.guard_address();
alter table vault.addresses enable always trigger guard_address;
