-- How fast an account may send, where it differs from what its channel declares (null: as declared).
alter table vault.accounts
    add column rate_per_s double precision check (rate_per_s > 0),
    add column pair_interval_s double precision check (pair_interval_s >= 0),
    add column pair_burst integer check (pair_burst >= 1);
comment on column vault.accounts.pair_interval_s is 'seconds between messages to one person after a burst of pair_burst; 0: no such limit';
