-- That two ids were one person goes with the first of them, and both are erased in one transaction.
create index links_other on vault.links (tenant, other);
delete from vault.links l using vault.subjects s
    where s.tenant = l.tenant and s.subject in (l.subject, l.other) and s.state = 'erased';

-- T1 in one statement: fence, keys, addresses and everything else that knows the subject. The caller's transaction adds the
-- events. A second call for the same subject changes nothing and answers from the fence.
create or replace function vault.erase(
    erased_tenant text, erased_subject uuid, not_before_ms bigint, day_key_ms bigint, keep_evidence_until date,
    evidence_entries bytea[]
)
returns table (state text, t1_ms bigint, day_keys_until_ms bigint, evidence text)
language plpgsql as $$
#variable_conflict use_column
declare
    standing text;
    t1 bigint;
    until_ms bigint;
    retained boolean := false;
begin
    select s.state into standing from vault.subjects s
        where s.subject = erased_subject and s.tenant = erased_tenant for update;
    if standing in ('active', 'restricted', 'lost') then
        -- Taken while the lock is held: every lease and permit of before has ended its statement by now.
        t1 := greatest(vault.now_ms(), not_before_ms);
        until_ms := (t1 / 86400000 + 1) * 86400000 + day_key_ms;
        if keep_evidence_until is not null then
            update vault.keys k set retained_until = keep_evidence_until
                where k.subject = erased_subject and k.tenant = erased_tenant and k.class = 'evidence'
                and k.wrapped is not null and k.consent is not null;
            retained := found;
        end if;
        update vault.keys k set wrapped = null, destroyed_ms = t1
            where k.subject = erased_subject and k.tenant = erased_tenant and k.wrapped is not null
            and (k.class <> 'evidence' or k.retained_until is null);
        if retained then
            insert into vault.evidence_index (entry, tenant, subject, until)
                select e, erased_tenant, erased_subject, keep_evidence_until from unnest(evidence_entries) e
                on conflict do nothing;
        end if;
        with moved as (
            delete from vault.addresses where subject = erased_subject and tenant = erased_tenant returning entry
        )
        insert into vault.erased_index (entry, tenant, t1_ms, until_ms)
            select entry, erased_tenant, t1, until_ms from moved order by entry
            on conflict (entry, tenant) do update
            set t1_ms = greatest(vault.erased_index.t1_ms, excluded.t1_ms),
                until_ms = greatest(vault.erased_index.until_ms, excluded.until_ms);
        delete from vault.profiles where subject = erased_subject and tenant = erased_tenant;
        delete from vault.reach where subject = erased_subject and tenant = erased_tenant;
        delete from vault.permissions where subject = erased_subject and tenant = erased_tenant;
        delete from vault.consents where subject = erased_subject and tenant = erased_tenant;
        delete from vault.proofs where subject = erased_subject and tenant = erased_tenant;
        delete from vault.list_members where subject = erased_subject and tenant = erased_tenant;
        delete from vault.requests where subject = erased_subject and tenant = erased_tenant;
        delete from vault.links l where l.tenant = erased_tenant and erased_subject in (l.subject, l.other);
        delete from vault.blocked where subject = erased_subject;
        -- Keys of wakes that concern a subject begin with its id.
        delete from step.due where left(key, 32) = replace(erased_subject::text, '-', '');
        update vault.subjects s
            set state = 'erased', t1_ms = t1, day_keys_until_ms = until_ms,
                evidence = case when retained then 'retained' else 'destroyed' end
            where s.subject = erased_subject and s.tenant = erased_tenant;
    end if;
    return query
        select s.state, s.t1_ms, s.day_keys_until_ms, s.evidence from vault.subjects s
        where s.subject = erased_subject and s.tenant = erased_tenant;
end
$$;
