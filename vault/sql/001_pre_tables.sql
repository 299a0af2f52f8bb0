-- Everything the vault holds. Times are milliseconds since the epoch; ids are uuid. No personal data in clear anywhere:
-- addresses and credentials are sealed, look-ups go through blind indexes.

create schema if not exists vault;

create table vault.installation (
    only_row   boolean primary key default true check (only_row),
    cluster_id text not null,
    partitions integer not null
);

create table vault.tenants (
    tenant          text primary key,
    wrapped_key     bytea not null,
    kcv             bytea not null,
    wrapped_ids     bytea not null,
    wrapped_routing bytea not null,
    dpa             boolean not null default false
);

create table vault.peppers (
    tenant  text not null,
    version smallint not null,
    wrapped bytea not null,
    primary key (tenant, version)
);

create table vault.purposes (
    tenant      text not null,
    purpose     text not null,
    legal_basis text not null,
    primary key (tenant, purpose)
);

create table vault.approvals (
    tenant     text not null,
    account    text not null,
    channel    text not null,
    connection text not null,
    primary key (tenant, account)
);

create table vault.settings_applied (
    only_row boolean primary key default true check (only_row),
    newest   bigint not null
);
comment on column vault.settings_applied.newest is 'offset of the newest record of sealpost.tenants that was applied';

-- The fence of an erased subject is its row here: it stays for ever.
create table vault.subjects (
    subject           uuid not null,
    tenant            text not null,
    state             text not null default 'active' check (state in ('active', 'restricted', 'erased', 'lost')),
    created_ms        bigint not null,
    t1_ms             bigint,
    day_keys_until_ms bigint,
    evidence          text check (evidence in ('retained', 'destroyed')),
    primary key (subject, tenant),
    check (state <> 'erased' or (t1_ms is not null and day_keys_until_ms is not null and evidence is not null))
);

create table vault.keys (
    subject        uuid not null,
    tenant         text not null,
    class          text not null check (class in ('identity', 'content', 'evidence')),
    gen            text not null,
    wrapped        bytea,
    kcv            bytea not null,
    created_ms     bigint not null,
    destroyed_ms   bigint,
    consent        uuid,
    retained_until date,
    primary key (subject, tenant, class, gen),
    check ((wrapped is null) = (destroyed_ms is not null))
);
create index keys_evidence on vault.keys (created_ms) where class = 'evidence' and wrapped is not null;

create table vault.addresses (
    entry    bytea not null,
    tenant   text not null,
    subject  uuid not null,
    channel  text not null,
    kind     text not null,
    sealed   bytea not null,
    bound_ms bigint not null,
    primary key (entry, tenant)
);
create index addresses_of on vault.addresses (subject, tenant);

create table vault.erased_index (
    entry    bytea not null,
    tenant   text not null,
    t1_ms    bigint not null,
    until_ms bigint not null,
    primary key (entry, tenant)
);

create table vault.evidence_index (
    entry   bytea not null,
    tenant  text not null,
    subject uuid not null,
    until   date not null,
    primary key (entry, tenant, subject)
);

create table vault.profiles (
    subject   uuid not null,
    tenant    text not null,
    name_hash bytea not null,
    primary key (subject, tenant)
);

-- One person found under two ids: never merged, but what the person says counts for both.
create table vault.links (
    tenant  text not null,
    subject uuid not null,
    other   uuid not null,
    at_ms   bigint not null,
    primary key (tenant, subject, other)
);

create table vault.reach (
    subject         uuid not null,
    tenant          text not null,
    account         text not null,
    channel         text not null,
    last_inbound_ms bigint not null,
    primary key (subject, tenant, account)
);

create table vault.permissions (
    subject      uuid not null,
    tenant       text not null,
    channel      text not null,
    purpose      text not null,
    given_ms     bigint,
    given_by     uuid,
    withdrawn_ms bigint,
    primary key (subject, tenant, channel, purpose)
);

create table vault.consents (
    consent uuid not null,
    tenant  text not null,
    subject uuid not null,
    channel text not null,
    purpose text not null,
    primary key (consent, tenant)
);
create index consents_of on vault.consents (subject, tenant);

create table vault.list_members (
    subject      uuid not null,
    tenant       text not null,
    list         text not null,
    channel      text not null,
    activated_ms bigint,
    ended_ms     bigint,
    primary key (subject, tenant, list, channel)
);

-- Subjects with an event that could not be handled: later events are dead-lettered behind it.
create table vault.blocked (
    subject  uuid primary key,
    topic    text not null,
    at       bigint not null,
    since_ms bigint not null
);

create table vault.follower (
    partition   integer primary key,
    reached_ms  bigint not null,
    incarnation text not null
);

-- Every incarnation of this database that the role vault has caught up in. Claims are not in backups: what was asked for before
-- `since_ms` may have been sent, and nobody knows.
create table vault.incarnations (
    incarnation text primary key,
    since_ms    bigint not null
);

create table vault.claim_days (
    day date primary key
);

create table vault.claims (
    day     date not null,
    message uuid not null,
    part    smallint not null,
    attempt smallint not null,
    token   text not null,
    tenant  text not null,
    subject uuid not null,
    account text not null,
    purpose text not null,
    refusal text,
    at_ms   bigint not null,
    primary key (day, message, part, attempt)
) partition by list (day);

create table vault.outcomes (
    day            date not null,
    message        uuid not null,
    part           smallint not null,
    attempt        smallint not null,
    definite       boolean not null,
    class          text not null,
    provider_index bytea,
    outputs        bytea not null,
    at_ms          bigint not null,
    primary key (day, message, part, attempt, definite)
) partition by list (day);
create index outcomes_by_provider on vault.outcomes (provider_index) where provider_index is not null;

create table vault.cancellations (
    message uuid not null,
    tenant  text not null,
    at_ms   bigint not null,
    primary key (message, tenant)
);

create table vault.requests (
    tenant     text not null,
    source     text not null,
    request    text not null,
    body_hash  bytea not null,
    answer     bytea not null,
    outputs    bytea not null,
    produced   boolean not null default false,
    subject    uuid,
    created_ms bigint not null,
    primary key (tenant, source, request)
);
create index requests_unproduced on vault.requests (created_ms) where not produced;
create index requests_of on vault.requests (subject) where subject is not null;
create index requests_age on vault.requests (created_ms);

create table vault.day_keys (
    tenant  text not null,
    day     date not null,
    public  bytea not null,
    wrapped bytea,
    kcv     bytea not null,
    published boolean not null default false,
    primary key (tenant, day)
);

create table vault.connections (
    connection text primary key,
    tenant     text not null,
    channel    text not null,
    sealed     bytea not null
);

create table vault.accounts (
    account          text primary key,
    connection       text not null references vault.connections,
    provider_account text not null,
    sealed           bytea not null,
    api_base_url     text not null,
    unique (connection, provider_account)
);

create table vault.tokens (
    hash      bytea primary key,
    principal text not null,
    tenant    text,
    role      text not null,
    revoked   boolean not null default false
);

create table vault.signing_keys (
    key     text primary key,
    public  bytea not null,
    wrapped bytea not null,
    seq     bigserial
);
