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
