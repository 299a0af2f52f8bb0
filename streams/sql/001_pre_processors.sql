-- State of the processors (DESIGN §8): one row a processor, subject and tenant; JSON, nothing personal in it.
create schema if not exists streams;

create table streams.state (
    processor text not null,
    subject text not null,
    tenant text not null,
    -- Layout of `state`; a newer release brings older ones up when it reads them.
    version integer not null,
    state jsonb not null,
    -- Something is under way that a gauge counts; for erasures: SubjectErased is not written yet.
    unfinished boolean not null default false,
    -- An event of this subject could not be handled and lies in the dead letters: the row may be behind the log.
    stale boolean not null default false,
    primary key (processor, subject, tenant)
);
create index state_unfinished on streams.state (processor) where unfinished;

-- What stays of an erased subject: whatever comes for it later is passed over.
create table streams.fence (
    processor text not null,
    subject text not null,
    tenant text not null,
    fenced_at bigint not null,
    primary key (processor, subject, tenant)
);
