-- While a connection's secret is replaced two are valid: `sealed` holds the current one, `previous` the one before, until its time.
-- `secret_since_ms` null: recorded before anybody asked how old a secret is.
alter table vault.connections
    add column secret_since_ms bigint,
    add column previous bytea,
    add column previous_until_ms bigint,
    add check ((previous is null) = (previous_until_ms is null));
alter table vault.connections alter column previous set statistics 0;
comment on column vault.connections.previous is 'the app secret before the current one, sealed';
