-- Messages stand in the order of the log: by the broker's time and the offset of their own record in `sealpost.messages`;
-- without such a record, by the broker's time of the first status. Rows of before keep the time they stood by.
alter table projections.message
    add column logged_at timestamptz,
    add column log_offset bigint,
    add column first_status_logged_at timestamptz,
    add column place_at timestamptz not null generated always as
        (coalesce(logged_at, asked_at, first_status_logged_at, first_status_at)) stored,
    add column place_offset bigint not null generated always as (coalesce(log_offset, 9223372036854775807)) stored;
create index message_by_place on projections.message (tenant, subject, place_at, place_offset, message);
