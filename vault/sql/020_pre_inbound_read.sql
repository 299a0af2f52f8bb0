-- Until when the raw topics of the channels were read: a STOP that still lies in one of them is a withdrawal that nobody has
-- applied. The role inbound writes it; `vault.acts_known_ms` is what `vault.follower` may claim (decision 051).
create table vault.inbound_read (
    topic      text not null,
    partition  integer not null,
    reached_ms bigint not null,
    primary key (topic, partition)
);

-- Milliseconds until when everything that persons did is applied; 0 while no raw topic was ever read to its end.
create function vault.acts_known_ms() returns bigint language sql volatile as $$
    select least(vault.now_ms(), coalesce((select min(reached_ms) from vault.inbound_read), 0))
$$;
