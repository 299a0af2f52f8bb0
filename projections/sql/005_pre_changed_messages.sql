-- What became of a message that a person wrote: the last edit and the last reaction, sealed as they came; and since when it is taken back, from when on its content, edits and reactions are not kept here any more. A row that only
-- says such things waits for the message's own record.
alter table projections.message
    add column edited_at timestamptz,
    add column edit_event text,
    add column edit json,
    add column reacted_at timestamptz,
    add column reaction_event text,
    add column reaction json,
    add column revoked_at timestamptz;

-- An address that was bound, or that reaches the person no more (`unbound`); the place in the log says what came last.
alter table projections.address
    add column unbound boolean,
    add column log_offset bigint;
