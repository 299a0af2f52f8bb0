-- Evidence is kept for a consent that was given, and for nothing else: what a person said who never consented is destroyed with
-- the rest of her. `proofs` holds every act that came with evidence until it is known whether a consent belongs to it.
create table vault.proofs (
    subject      uuid not null,
    tenant       text not null,
    gen          text not null,
    channel      text not null,
    purpose      text not null,
    optin        text,
    withdrawn_ms bigint,
    primary key (subject, tenant, gen, channel, purpose),
    check ((optin is null) <> (withdrawn_ms is null))
);
comment on table vault.proofs is 'acts with evidence: a step of the opt-in `optin`, or a withdrawal acted at `withdrawn_ms`';

alter table vault.consents
    add column optin text,
    add column given_ms bigint;
comment on column vault.consents.given_ms is 'when the person acted; null in rows of before';

-- What was tied to an event of somebody who has given no consent at all.
update vault.keys k set consent = null
    where k.consent is not null and k.wrapped is not null
    and exists (select from vault.subjects s
                where s.subject = k.subject and s.tenant = k.tenant and s.state in ('active', 'restricted'))
    and not exists (select from vault.consents c where c.subject = k.subject and c.tenant = k.tenant);

-- Ties evidence generations of these subjects to the consents they belong to: the steps of the opt-in that a consent names, and
-- the first withdrawal after it, which ended it. What is tied stays tied.
create function vault.tie_evidence(concerned json) returns void
language sql as $$
    update vault.keys k set consent = t.consent
    from (
        select distinct on (p.subject, p.tenant, p.gen) p.subject, p.tenant, p.gen, c.consent
        from json_to_recordset(concerned) as a(subject uuid, tenant text)
        join vault.proofs p using (subject, tenant)
        join vault.consents c on c.subject = p.subject and c.tenant = p.tenant
            and c.channel = p.channel and c.purpose = p.purpose
        where p.optin = c.optin or (p.withdrawn_ms >= c.given_ms and not exists (
            select from vault.proofs e
            where e.subject = p.subject and e.tenant = p.tenant and e.channel = p.channel and e.purpose = p.purpose
            and e.withdrawn_ms >= c.given_ms and e.withdrawn_ms < p.withdrawn_ms
        ))
        order by p.subject, p.tenant, p.gen, c.given_ms desc, c.consent
    ) t
    where k.subject = t.subject and k.tenant = t.tenant and k.class = 'evidence' and k.gen = t.gen
        and k.consent is null and k.wrapped is not null
$$;

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
