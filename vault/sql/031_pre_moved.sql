-- An address that the provider's news of a change bound: ids that the subject has from before then say nothing about who has it.
alter table vault.addresses add column moved boolean not null default false;
