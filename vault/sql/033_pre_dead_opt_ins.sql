-- What a token was for stays until its row goes, nine days after its end: a message that was written in time and is handled late
-- needs it.
comment on column vault.entry_tokens.died is 'its end has come and was counted';
