-- Read models of the store `projections.v1`. Personal fields stand here only as sealed blocks, exactly as in the events.
-- Every fold is commutative (greatest, least, rank), so that the order in which topics are read never shows in a row.

create schema if not exists projections;

-- What stays of an erased subject: whatever names it later is a no-op.
create table projections.fence (
    tenant text not null,
    subject text not null,
    erasure text not null,
    erased_at timestamptz not null,
    primary key (tenant, subject)
);

create table projections.subject (
    tenant text not null,
    subject text not null,
    created_at timestamptz,
    first_event_at timestamptz not null,
    entry_point text,
    language text,
    language_at timestamptz,
    profile_event text,
    profile_at timestamptz,
    profile json,
    stale boolean,
    primary key (tenant, subject)
);

create index subject_by_id on projections.subject (subject);

create table projections.address (
    tenant text not null,
    subject text not null,
    event text not null,
    channel text not null,
    kind text not null,
    account text not null,
    bound_at timestamptz not null,
    sealed json,
    primary key (tenant, subject, event)
);

-- Every consent event, for the history with its proof; `data` holds the clear fields only.
create table projections.consent (
    tenant text not null,
    subject text not null,
    event text not null,
    log_offset bigint not null,
    type text not null,
    purpose text not null,
    channel text not null,
    acted_at timestamptz,
    recorded_at timestamptz not null,
    data json not null,
    evidence json,
    primary key (tenant, subject, event)
);

-- The permission as the vault computes it: both times only grow; active means given_at > withdrawn_at.
create table projections.permission (
    tenant text not null,
    subject text not null,
    channel text not null,
    purpose text not null,
    given_at timestamptz,
    given_by text,
    withdrawn_at timestamptz,
    primary key (tenant, subject, channel, purpose)
);

create table projections.subscription (
    tenant text not null,
    subject text not null,
    subscription text not null,
    list text not null,
    purpose text not null,
    channel text not null,
    account text,
    language text,
    basis text,
    activated_at timestamptz,
    ended_at timestamptz,
    end_reason text,
    primary key (tenant, subject, subscription)
);

-- `status_rank` is schemas.events.statuses.rank, null for a message of the person; the largest wins.
create table projections.message (
    tenant text not null,
    subject text not null,
    message text not null,
    direction text,
    channel text,
    account text,
    purpose text,
    kind text,
    text json,
    notice text,
    about text,
    template text,
    language text,
    asked_at timestamptz,
    first_status_at timestamptz,
    at timestamptz not null generated always as (coalesce(asked_at, first_status_at)) stored,
    content_event text,
    content_type text,
    content json,
    status_rank smallint,
    reason text,
    code integer,
    submitted_at timestamptz,
    sent_at timestamptz,
    delivered_at timestamptz,
    read_at timestamptz,
    rejected_at timestamptz,
    failed_at timestamptz,
    expired_at timestamptz,
    unknown_at timestamptz,
    primary key (tenant, subject, message)
);
create index message_by_time on projections.message (tenant, subject, at, message);

-- Erasures name no person; they stay after the purge. `state_rank` is projections.erasures.STATES; the largest wins.
create table projections.erasure (
    tenant text not null,
    erasure text not null,
    subject text not null,
    state_rank smallint not null,
    requested_by text,
    reason text,
    evidence text,
    t0 timestamptz,
    t1 timestamptz,
    t2 timestamptz,
    tr timestamptz,
    t3 timestamptz,
    missing json,
    certificate json,
    settled_at timestamptz,
    primary key (tenant, erasure)
);

create table projections.receipt (
    tenant text not null,
    erasure text not null,
    store text not null,
    purged_at timestamptz not null,
    primary key (tenant, erasure, store)
);

-- Events of a type that this version does not know: counted by row, read again after an upgrade by a rebuild.
create table projections.unknown_event (
    tenant text not null,
    subject text not null,
    event text not null,
    topic text not null,
    type text not null,
    recorded_at timestamptz not null,
    primary key (tenant, subject, event)
);
