-- The engine says which incarnation of the database this is; the vault asks nobody else.
create or replace function vault.incarnation() returns text language sql stable as $$
    select step.this_incarnation()
$$;
