-- The order in which outcomes were stored: no clock says it, two of one millisecond have one too.
create sequence vault.outcome_seq;
alter table vault.outcomes add column seq bigint not null default nextval('vault.outcome_seq');

-- What became of a (message, part), said in one place. Several attempts may have an outcome: a frozen worker comes back after
-- another has taken its claim over. What the provider took counts before every failure, else what was stored first; nothing
-- known gives way to everything known; a released claim is no outcome, of those the newest attempt counts.
create function vault.outcome_of(of_day date, of_message uuid, of_part smallint)
returns table (class text, attempt smallint, definite boolean, outputs bytea)
language sql stable as $$
    select o.class, o.attempt, o.definite, o.outputs from vault.outcomes o
    where o.day = of_day and o.message = of_message and o.part = of_part
    order by o.class <> 'retry' desc, o.definite desc, o.class = 'submitted' desc,
        case when o.class = 'retry' then -o.attempt else o.seq end
    limit 1
$$;

-- One settler at a time where more than one attempt was granted: each then sees what the others stored.
create function vault.hold_attempts(settled json) returns void
language plpgsql set enable_seqscan = off set enable_bitmapscan = off as $$
begin
    perform from (
        select distinct s.day, s.message, s.part from json_to_recordset(settled) as s(day date, message uuid, part smallint)
        where exists (
            select from vault.claims c
            where c.day = s.day and c.message = s.message and c.part = s.part and c.attempt > 1
        )
    ) as wanted
    join vault.claims c using (day, message, part)
    where c.attempt = 1
    order by c.day, c.message, c.part
    for no key update of c;
end
$$;

-- Write outcomes; answers what counts for each (message, part).
create or replace function vault.settle(settled json)
returns table (n integer, outputs bytea)
language plpgsql set enable_seqscan = off set enable_bitmapscan = off as $$
#variable_conflict use_column
begin
    perform vault.hold_attempts(settled);
    insert into vault.outcomes (day, message, part, attempt, definite, class, provider_index, outputs, at_ms)
        select s.day, s.message, s.part, s.attempt, s.class <> 'unknown', s.class, decode(s.provider_index, 'base64'),
            decode(s.outputs, 'base64'), vault.now_ms()
        from json_to_recordset(settled) as s(
            day date, message uuid, part smallint, attempt smallint, class text, provider_index text, outputs text
        )
        join vault.claim_days d on d.day = s.day
        where s.attempt > 0
        order by s.day, s.message, s.part, s.attempt
        on conflict do nothing;
    return query
        select s.n, o.outputs
        from json_to_recordset(settled) as s(n integer, day date, message uuid, part smallint, class text)
        cross join lateral vault.outcome_of(s.day, s.message, s.part) o
        where s.class <> 'retry' and o.class <> 'retry';
end
$$;

-- A provider's status carried our echo: settle what is open or unknown as submitted; the `n` of those that this did.
create function vault.settle_by_echo(echoes json) returns table (n integer)
language plpgsql set enable_seqscan = off set enable_bitmapscan = off as $$
#variable_conflict use_column
begin
    perform vault.hold_attempts(echoes);
    return query
    with echoed as materialized (
        select distinct on (message, part, tenant) * from json_to_recordset(echoes) as a(
            n integer, tenant text, day date, message uuid, part smallint, provider_index text, outputs text
        )
        order by message, part, tenant, n
    ), open as (
        select e.*, c.attempt from echoed e
        cross join lateral (
            select c.attempt, c.tenant, c.refusal from vault.claims c
            where c.day = e.day and c.message = e.message and c.part = e.part order by c.attempt desc limit 1
        ) c
        left join lateral vault.outcome_of(e.day, e.message, e.part) o on true
        where c.tenant = e.tenant and c.refusal is null
            and (o.class is null or not o.definite or (o.class = 'retry' and o.attempt <> c.attempt))
    ), written as (
        insert into vault.outcomes (day, message, part, attempt, definite, class, provider_index, outputs, at_ms)
        select day, message, part, attempt, true, 'submitted', decode(provider_index, 'base64'),
            decode(outputs, 'base64'), vault.now_ms()
        from open order by day, message, part
        on conflict do nothing returning message, part
    )
    select e.n from open e join written using (message, part);
end
$$;
