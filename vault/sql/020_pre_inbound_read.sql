-- Until when the raw topics of the channels were read: a STOP that still lies in one of them is a withdrawal that nobody has
-- applied. The role inbound writes it; `vault.acts_known_ms` is what `vault.follower` may claim (decision 051).
create table vault.inbound_read (
    topic      text not null,
    partition  integer not null,
    reached_ms bigint not null,
    primary key (topic, partition)
);

-- Milliseconds until when everything that persons did is applied. Every partition of every raw topic named counts; one that was
-- never read to its end makes it 0. What is noted of other topics does not count: their channel is gone.
create function vault.acts_known_ms(raw_topics json) returns bigint language sql volatile as $$
    select least(vault.now_ms(), coalesce(min(coalesce(r.reached_ms, 0)), 0))
    from json_array_elements_text(raw_topics) as t(topic)
    cross join generate_series(0, coalesce((select i.partitions from vault.installation i), 1) - 1) as n(number)
    left join vault.inbound_read r on r.topic = t.topic and r.partition = n.number
$$;
