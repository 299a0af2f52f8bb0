-- What all processes of an installation must agree on, recorded at first use: their master key (by its check value, which tells
-- nothing about it) and the times from which one of them concludes what another may still do.
create table vault.master_key (
    only_row boolean primary key default true check (only_row),
    kcv      bytea not null
);

create table vault.agreed_times (
    name    text primary key,
    seconds double precision not null
);
alter table vault.master_key alter column kcv set statistics 0;
