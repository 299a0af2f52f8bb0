-- The step engine's tables; the same in each of the three databases (protocols §1).
create schema if not exists step;

-- Who may write for a role and partition number: the process that holds the newest epoch.
create table step.owner (
    role text not null,
    partition integer not null,
    epoch bigint not null,
    primary key (role, partition)
);

-- The offset of the next record to handle. Valid for this cluster and topic id only.
create table step.position (
    role text not null,
    topic text not null,
    partition integer not null,
    next_offset bigint not null,
    cluster_id text not null,
    topic_id text not null,
    primary key (role, topic, partition)
);

-- What was recorded and may not have been acknowledged by Kafka yet (streams.step.store, encode_outputs).
create table step.outbox (
    role text not null,
    partition integer not null,
    records bytea not null,
    primary key (role, partition)
);
alter table step.outbox alter column records set storage external;

-- Ids of handled inputs, in partitions of three UTC days of their broker time; `span` is the first of the three. Three days
-- and not one: each event is looked up in every partition of the horizon, and that is what an event costs here.
create function step.span(day date) returns date
language sql immutable parallel safe
return date '2000-01-01' + (day - date '2000-01-01') / 3 * 3;

create table step.seen (
    span date not null,
    role text not null,
    id uuid not null,
    -- The id first: it differs at once, where the role would have to be compared at every level of the index.
    primary key (id, role, span)
) partition by range (span);
create table step.seen_default partition of step.seen default;

-- Spans that have a partition of their own.
create table step.seen_span (
    span date primary key,
    made_at timestamptz not null default clock_timestamp()
);

-- Everything that waits. `at` is milliseconds since the epoch.
create table step.due (
    role text not null,
    partition integer not null,
    at bigint not null,
    seq bigint generated always as identity,
    key text not null,
    kind text not null,
    body jsonb not null,
    primary key (role, partition, at, seq)
);
create index due_key on step.due (role, key);

-- The database each role last ran on: a restore or a promotion changes it.
create table step.incarnation (
    role text primary key,
    system_identifier text not null,
    timeline integer not null
);

-- Makes the partitions of `count` days from `first` on; returns how many were missing. May run anywhere, at any time.
create function step.make_seen_partitions(first date, count integer) returns integer
language plpgsql as $$
declare
    wanted date;
    name text;
    made integer := 0;
begin
    for wanted in select distinct step.span(first + n) from generate_series(0, count - 1) as n order by 1 loop
        continue when exists (select from step.seen_span where span = wanted);
        -- One maker at a time; whoever waited looks again.
        perform pg_advisory_xact_lock(hashtext('step.make_seen_partitions'));
        continue when exists (select from step.seen_span where span = wanted);
        name := 'seen_' || to_char(wanted, 'YYYYMMDD');
        execute format('create table step.%I (like step.seen including all)', name);
        -- Ids that came before their partition.
        lock table step.seen_default in access exclusive mode;
        execute format('with moved as (delete from step.seen_default where span = %L returning *) '
                       'insert into step.%I select * from moved', wanted, name);
        execute format('alter table step.seen attach partition step.%I for values from (%L) to (%L)',
                       name, wanted, wanted + 3);
        insert into step.seen_span (span) values (wanted);
        made := made + 1;
    end loop;
    return made;
end
$$;

-- Drops the spans that end before `oldest`; returns how many. One that a rebuild has just made for old records stays a day
-- longer.
create function step.drop_seen_partitions(oldest date) returns integer
language plpgsql as $$
declare
    old date;
    dropped integer := 0;
begin
    perform pg_advisory_xact_lock(hashtext('step.make_seen_partitions'));
    for old in select span from step.seen_span
               where span + 3 <= oldest and made_at < clock_timestamp() - interval '1 day' order by span loop
        execute format('drop table step.%I', 'seen_' || to_char(old, 'YYYYMMDD'));
        delete from step.seen_span where span = old;
        dropped := dropped + 1;
    end loop;
    delete from step.seen_default where span + 3 <= oldest;
    return dropped;
end
$$;

-- Notes ids (each once) as handled on a day and returns the places (1 = first) of those that had been before, within `kept`
-- days or a little longer before it (a leader's clock may run behind: also on the day after).
-- Other spans are searched with one array condition a partition, the own one by the index of the insert. A join is avoided on
-- purpose: one that was planned while the tables were empty would read them whole ever after.
create function step.note_seen(reader text, on_day date, ids uuid[], kept integer) returns setof integer
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off
as $$
declare
    own date := step.span(on_day);
    first date := step.span(on_day - kept);
    former uuid[];
    fresh uuid[];
begin
    select array_agg(s.id) into former from step.seen s
    where s.id = any (ids) and s.role = reader
      and (s.span between first and own - 1 or s.span between own + 1 and on_day + 1);
    with noted as (
        insert into step.seen (span, role, id)
        select own, reader, g.id from unnest(ids) as g(id) where former is null or g.id <> all (former)
        on conflict do nothing
        returning seen.id
    )
    select array_agg(id) into fresh from noted;
    if cardinality(fresh) = cardinality(ids) then
        return;
    end if;
    return query
    select g.place::integer from unnest(ids) with ordinality as g(id, place)
    where fresh is null or g.id <> all (fresh);
end
$$;

select step.make_seen_partitions((now() at time zone 'utc')::date - 1, 5);
