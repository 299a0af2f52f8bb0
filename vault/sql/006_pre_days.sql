-- Day partitions of claims and outcomes: made ahead, dropped whole, never vacuumed. `claim_days` is what the permits look at.
create function vault.make_claim_days(first date, count integer) returns integer
language plpgsql as $$
declare
    wanted date;
    made integer := 0;
begin
    for wanted in select first + n from generate_series(0, count - 1) as n loop
        continue when exists (select from vault.claim_days where day = wanted);
        -- One maker at a time; whoever waited looks again.
        perform pg_advisory_xact_lock(hashtext('vault.claim_days'));
        continue when exists (select from vault.claim_days where day = wanted);
        execute format('create table vault.%I partition of vault.claims for values in (%L)',
                       'claims_' || to_char(wanted, 'YYYYMMDD'), wanted);
        execute format('create table vault.%I partition of vault.outcomes for values in (%L)',
                       'outcomes_' || to_char(wanted, 'YYYYMMDD'), wanted);
        insert into vault.claim_days (day) values (wanted);
        made := made + 1;
    end loop;
    return made;
end
$$;

create function vault.drop_claim_days(before date) returns integer
language plpgsql as $$
declare
    old date;
    dropped integer := 0;
begin
    perform pg_advisory_xact_lock(hashtext('vault.claim_days'));
    for old in delete from vault.claim_days where day < before returning day loop
        execute format('drop table vault.%I', 'claims_' || to_char(old, 'YYYYMMDD'));
        execute format('drop table vault.%I', 'outcomes_' || to_char(old, 'YYYYMMDD'));
        dropped := dropped + 1;
    end loop;
    return dropped;
end
$$;
