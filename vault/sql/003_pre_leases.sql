-- Keys by (tenant, subject, class, gen), with the subjects held FOR SHARE in key order: an erasure that has its lock is waited
-- for, one that comes later waits for this transaction. One row an input; `found` tells a missing row from a destroyed key.
create function vault.keys_of(asked json)
returns table (n integer, state text, found boolean, wrapped bytea, kcv bytea, retained boolean)
language plpgsql set enable_seqscan = off set enable_bitmapscan = off as $$
begin
    perform from (
        select distinct a.subject, a.tenant from json_to_recordset(asked) as a(subject uuid, tenant text)
    ) as wanted
    join vault.subjects s using (subject, tenant)
    order by s.subject, s.tenant
    for share of s;
    return query
        select a.n, s.state, k.gen is not null, k.wrapped, k.kcv, k.retained_until is not null
        from json_to_recordset(asked) as a(n integer, subject uuid, tenant text, class text, gen text)
        left join vault.subjects s on s.subject = a.subject and s.tenant = a.tenant
        left join vault.keys k
            on k.subject = a.subject and k.tenant = a.tenant and k.class = a.class and k.gen = a.gen;
end
$$;
