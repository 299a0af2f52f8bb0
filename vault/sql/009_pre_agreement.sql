-- An agreement is two marks that only grow, as permissions are: in whatever order, however often and however late its events
-- are applied, what was signed after the last end holds. Equal times mean ended.
alter table vault.tenants
    add column dpa_signed_ms bigint,
    add column dpa_ended_ms bigint;
-- Signed before every end that is still to be applied; the log, where it is read again, knows better.
update vault.tenants set dpa_signed_ms = 1 where dpa;
alter table vault.tenants drop column dpa;
alter table vault.tenants
    add column dpa boolean not null generated always as (coalesce(dpa_signed_ms, 0) > coalesce(dpa_ended_ms, 0)) stored;
comment on column vault.tenants.dpa_signed_ms is 'database time of the newest DpaSigned, as its event says';
comment on column vault.tenants.dpa_ended_ms is 'database time of the newest DpaEnded, raised in the command''s own transaction';
