-- Whether an account reaches the person: the last word on it, a block or its end.
create table projections.reach (
    tenant text not null,
    subject text not null,
    channel text not null,
    account text not null,
    reachable boolean not null,
    changed_at timestamptz not null,
    primary key (tenant, subject, channel, account)
);
