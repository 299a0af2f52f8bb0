-- Tables of the handler in tests/step_world.py.
create schema work;
create table work.counts (key text primary key, n integer not null);
create table work.poisoned (reason text not null, subject text);
create table work.reached (partition integer not null, at timestamptz not null default clock_timestamp());
