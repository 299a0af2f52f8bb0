-- Whether an account reaches a person, and how far the provider says that its messages came. All times only grow, so that any
-- order and repetition ends the same. `blocked_ms`: the person blocked the account; `resumed_ms`: let it write again, which a
-- message of the person does too. `…_upto_ms`: of everything that was sent until then it has been said that it was delivered, or
-- read.
alter table vault.reach
    alter column last_inbound_ms drop not null,
    add column blocked_ms bigint,
    add column resumed_ms bigint,
    add column delivered_upto_ms bigint,
    add column read_upto_ms bigint;

-- A message and a block of the same moment: the block was the last thing. A block and its end of the same moment: she is reached,
-- for some providers know whole seconds only, and a message too many is refused by the provider.
create function vault.is_blocked(blocked_ms bigint, last_inbound_ms bigint, resumed_ms bigint) returns boolean
language sql immutable as $$
    select coalesce(blocked_ms >= coalesce(last_inbound_ms, 0) and blocked_ms > coalesce(resumed_ms, 0), false)
$$;

-- What was sent to one person, for a provider that reports a time instead of a message.
create index claims_of on vault.claims (subject, tenant, account);

-- The provider's last word about a template; `account` is empty where it names none.
create table vault.templates (
    tenant   text not null,
    account  text not null,
    template text not null,
    language text not null,
    status   text not null,
    primary key (tenant, template, language, account)
);

-- The gate: one call answers a batch. `standing` is what claims and outcomes say, `holds` what the conditions say; a claim
-- comes before a refusal, because a message that went out must not be called rejected. Grants and refusals leave a claim
-- row; whoever loses the race for it is told `busy`.
--
-- Planned for index look-ups whatever the statistics say: a plan made while today's partition was empty must not scan it later.
-- Take-overs need a database clock that agrees with the caller's boot clock: `expected_ms` is what the caller expects it to
-- show now (null: it does not know yet). Whose token it is gets its answer again without that: `waited` says how long the caller
-- has had the token on its boot clock, and no claim of it is older. A claim of a time to come was made before the database's
-- clock stepped back: it is at least as old as the clocks have agreed since (`agreed_ms`); it must not block its lane until then.
--
-- Whom an account cannot reach because the person blocked it gets nothing from it, and a template that the provider took back goes
-- to nobody. A key that was destroyed is a refusal; a row that is missing is a fault of the vault: the message waits for its repair.
create or replace function vault.permits(
    asked json, lease_ms bigint, takeover_ms bigint, echo_ms bigint, behind_ms bigint, basis_ms bigint, window_ms bigint,
    expected_ms bigint, agreed_ms bigint, step_ms bigint
)
returns table (
    n integer, verdict text, reason text, attempt integer, retry_ms bigint, age_ms bigint, now_ms bigint,
    kind text, address bytea, identity bytea, identity_kcv bytea, content bytea, content_kcv bytea, outputs bytea
)
language plpgsql set enable_seqscan = off set enable_bitmapscan = off as $$
#variable_conflict use_column
declare
    clock_agrees boolean := coalesce(abs(vault.now_ms() - expected_ms) <= step_ms, false);
    this_incarnation text := vault.incarnation();
    settings_newest bigint := coalesce((select newest from vault.settings_applied), -1);
    since bigint := coalesce((select since_ms from vault.incarnations where incarnation = this_incarnation), 0);
    slowest bigint;
    now_at bigint;
begin
    perform from (
        select distinct a.subject, a.tenant from json_to_recordset(asked) as a(subject uuid, tenant text)
    ) as wanted
    join vault.subjects s using (subject, tenant)
    order by s.subject, s.tenant
    for share of s;
    now_at := vault.now_ms();
    select min(f.reached_ms) into slowest
        from vault.follower f having bool_and(f.incarnation = this_incarnation);

    return query
    with input as materialized (
        select a.*, row_number() over (partition by a.message, a.part order by a.n) as occurrence
        from json_to_recordset(asked) as a(
            n integer, tenant text, subject uuid, message uuid, part smallint, day date, account text, channel text,
            purpose text, free_form boolean, requested bigint, expires bigint, once boolean, token text, basis uuid,
            settings bigint, gen text, partition integer, waited bigint, template text, language text
        )
    ),
    stand as materialized (
        select i.*, s.state, c.attempt as last_attempt, c.refusal, o.outputs as stored, w.age,
            case
                when s.state in ('erased', 'lost') then 'fenced'
                when d.day is null then 'over'
                when i.occurrence > 1 then 'busy'
                when o.class <> 'retry' then 'settled'
                when c.attempt is null or (o.class = 'retry' and o.attempt = c.attempt) then 'free'
                when c.refusal is not null then 'refused'
                when c.token = i.token and w.age < lease_ms then 'mine'
                when not clock_agrees then 'busy'
                when w.age < takeover_ms then 'busy'
                when w.age < takeover_ms + echo_ms then 'echo'
                when i.once then 'unknown'
                else 'again'
            end as standing
        from input i
        left join vault.subjects s on s.subject = i.subject and s.tenant = i.tenant
        left join vault.claim_days d on d.day = i.day
        left join lateral (
            select c.attempt, c.token, c.refusal, c.at_ms from vault.claims c
            where c.day = i.day and c.message = i.message and c.part = i.part
            order by c.attempt desc limit 1
        ) c on true
        left join lateral (
            select case
                when c.token = i.token and not clock_agrees then i.waited
                when c.at_ms > now_at + step_ms then agreed_ms
                else now_at - c.at_ms
            end as age
        ) w on true
        -- Without a claim there is no outcome: a null key looks nothing up.
        left join lateral vault.outcome_of(i.day, i.message, case when c.attempt is not null then i.part end) o on true
    ),
    judged as materialized (
        select t.*, a.kind, a.sealed, ki.wrapped as identity, ki.kcv as identity_kcv, kc.wrapped as content,
            kc.kcv as content_kcv, ki.gen is null or (t.gen is not null and kc.gen is null) as key_missing,
            case
                when t.standing not in ('free', 'mine', 'again') then null
                when (case when t.partition is null then slowest else f.reached_ms end) is null then 'wait:vault_behind'
                when t.standing = 'free' and t.last_attempt is null and t.requested < since then 'before_restore'
                when now_at >= t.expires then 'expired'
                when t.state is null then 'unreachable'
                when t.state = 'restricted' then 'restricted'
                when t.settings > settings_newest and now_at - t.requested < basis_ms then 'wait:settings'
                when n.dpa is not true then 'no_dpa'
                when v.account is null then 'unknown_account'
                when p.legal_basis is null then 'unknown_purpose'
                when x.message is not null then 'cancelled'
                when vault.is_blocked(r.blocked_ms, r.last_inbound_ms, r.resumed_ms) then 'unreachable'
                when w.status in ('paused', 'disabled', 'rejected') then 'template_not_approved'
                when p.legal_basis = 'consent' then
                    case
                        when now_at - coalesce(f.reached_ms, slowest) > behind_ms then 'wait:vault_behind'
                        when t.basis is not null and g.consent is null then
                            case when now_at - t.requested < basis_ms then 'wait:basis' else 'no_consent' end
                        when m.given_ms > coalesce(m.withdrawn_ms, 0) then null
                        when m.withdrawn_ms is null then 'no_consent'
                        else 'consent_withdrawn'
                    end
            end as condition,
            coalesce(r.last_inbound_ms, 0) + window_ms > now_at as window_open
        from stand t
        left join vault.tenants n on n.tenant = t.tenant
        left join vault.approvals v on v.tenant = t.tenant and v.account = t.account and v.channel = t.channel
        left join vault.purposes p on p.tenant = t.tenant and p.purpose = t.purpose
        left join vault.follower f on f.partition = t.partition and f.incarnation = this_incarnation
        left join vault.cancellations x
            on x.message = t.message and x.tenant = t.tenant and t.standing in ('free', 'mine', 'again')
        left join vault.consents g
            on g.consent = t.basis and g.tenant = t.tenant and g.subject = t.subject
            and g.channel = t.channel and g.purpose = t.purpose
        left join vault.permissions m
            on m.subject = t.subject and m.tenant = t.tenant and m.channel = t.channel and m.purpose = t.purpose
            and p.legal_basis = 'consent'
        left join vault.reach r
            on r.subject = t.subject and r.tenant = t.tenant and r.account = t.account
            and t.standing in ('free', 'mine', 'again')
        left join lateral (
            select w.status from vault.templates w
            where w.tenant = t.tenant and w.template = t.template and w.language = t.language
            and w.account in (t.account, '')
            order by w.account <> '' desc limit 1
        ) w on t.template is not null
        left join lateral (
            select b.kind, b.sealed from vault.addresses b
            where b.subject = t.subject and b.tenant = t.tenant and b.channel = t.channel
            order by b.kind = 'phone' desc, b.bound_ms desc limit 1
        ) a on t.standing in ('free', 'mine', 'again')
        left join vault.keys ki
            on ki.subject = t.subject and ki.tenant = t.tenant and ki.class = 'identity' and ki.gen = '0'
            and t.standing in ('free', 'mine', 'again')
        left join vault.keys kc
            on kc.subject = t.subject and kc.tenant = t.tenant and kc.class = 'content' and kc.gen = t.gen
            and t.standing in ('free', 'mine', 'again')
    ),
    decided as materialized (
        select j.*,
            case
                when j.standing not in ('free', 'mine', 'again') then null
                when j.condition is not null then j.condition
                when j.free_form and not j.window_open then 'window_closed'
                when j.sealed is null then 'unreachable'
                when j.key_missing then 'wait:vault_fault'
                when j.identity is null or (j.gen is not null and j.content is null) then 'unreachable'
                else 'go'
            end as holds,
            case j.standing when 'mine' then j.last_attempt else coalesce(j.last_attempt, 0) + 1 end as next_attempt
        from judged j
    ),
    claimed as (
        insert into vault.claims (day, message, part, attempt, token, tenant, subject, account, purpose, refusal, at_ms)
        select e.day, e.message, e.part, e.next_attempt, e.token, e.tenant, e.subject, e.account, e.purpose,
            nullif(e.holds, 'go'), now_at
        from decided e
        where (e.standing in ('free', 'again') and e.holds = 'go')
            or (e.standing = 'free' and e.holds <> 'go' and e.holds not like 'wait:%')
        order by e.day, e.message, e.part
        on conflict do nothing
        returning message, part, attempt, token
    ),
    answered as (
        select e.*,
            case
                when e.standing = 'fenced' then 'refuse:erased'
                when e.standing = 'over' then 'refuse:expired'
                when e.standing = 'settled' then 'settled'
                when e.refusal = 'before_restore' and e.standing = 'refused' then 'unknown'
                when e.standing = 'refused' then 'refuse:' || e.refusal
                when e.standing in ('busy', 'echo') then 'wait:' || e.standing
                when e.standing = 'unknown' then 'unknown'
                when e.holds like 'wait:%' then e.holds
                when e.standing = 'again' and e.holds <> 'go' then 'unknown'
                when e.standing <> 'mine' and c.attempt is null then 'wait:busy'
                when e.holds = 'before_restore' then 'unknown'
                when e.holds = 'go' then case e.standing when 'again' then 'permit:again' else 'permit' end
                else 'refuse:' || e.holds
            end as answer
        from decided e
        left join claimed c
            on c.message = e.message and c.part = e.part and c.attempt = e.next_attempt and c.token = e.token
    )
    select e.n, split_part(e.answer, ':', 1), nullif(split_part(e.answer, ':', 2), ''),
        case
            when e.standing in ('fenced', 'over') then 0
            when e.standing <> 'free' and (e.answer = 'unknown' or e.standing = 'refused') then e.last_attempt
            else e.next_attempt
        end::integer,
        case
            when e.standing = 'busy' and clock_agrees and e.occurrence = 1 then greatest(takeover_ms - e.age, 1)
            when e.standing = 'echo' then greatest(takeover_ms + echo_ms - e.age, 1)
        end,
        case when e.standing = 'mine' then e.age else 0 end, now_at,
        e.kind, e.sealed, e.identity, e.identity_kcv, e.content, e.content_kcv,
        case when e.standing = 'settled' then e.stored end
    from answered e;
end
$$;
