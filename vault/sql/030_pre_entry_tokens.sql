-- Tokens that tell by which way a person came: of a form, Sealpost's (`form`) or the tenant's own (`api`), which is for one use
-- and dies with its opt-in, or of a link, which is for many. Only the hash
-- of a token is kept; `facts` is what a page showed and what was ticked there, nothing of a person. `used_act` is the id of the
-- message that used it, which names nobody: a repetition of that message is known, another one comes too late.
create table vault.entry_tokens (
    hash       bytea not null,
    tenant     text not null,
    kind       text not null check (kind in ('form', 'api', 'link')),
    origin     text not null,
    facts      text not null,
    created_ms bigint not null,
    expires_ms bigint,
    used_ms    bigint,
    used_act   uuid,
    died       boolean not null default false,
    primary key (hash, tenant),
    check ((used_ms is null) = (used_act is null)),
    check (kind = 'link' or expires_ms is not null)
);
create index entry_tokens_expiry on vault.entry_tokens (expires_ms) where expires_ms is not null;
comment on column vault.entry_tokens.origin is 'id of the form or link';
comment on column vault.entry_tokens.died is 'its end has come and was counted; what it was for is forgotten';
-- As every column that opens something (008): no copy of its values in the statistics.
alter table vault.entry_tokens alter column hash set statistics 0;
