-- Sealed bytes that wait: no copy of them in pg_statistic, where ANALYZE would keep it when the row is long gone. A change to
-- the same type removes what was gathered before.
alter table step.outbox alter column records set statistics 0;
alter table step.outbox alter column records type bytea using records;
alter table step.due alter column body set statistics 0;
alter table step.due alter column body type jsonb using body;
