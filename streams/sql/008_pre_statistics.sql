-- No copy of a subject's state in pg_statistic, where ANALYZE would keep it after the purge. A change to the same type removes
-- what was gathered before.
alter table streams.state alter column state set statistics 0;
alter table streams.state alter column state type jsonb using state;
