-- 008 changed the column's type to itself, which set its storage back to what bytea begins with: sealed bytes, which nothing makes
-- smaller, were compressed on every step.
alter table step.outbox alter column records set storage external;
