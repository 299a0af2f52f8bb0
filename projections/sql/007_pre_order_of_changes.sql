-- When the last edit and the last reaction were made, on the provider's clock: they may arrive in another order.
alter table projections.message
    add column edit_made_at timestamptz,
    add column reaction_made_at timestamptz;
update projections.message set edit_made_at = edited_at, reaction_made_at = reacted_at
    where edited_at is not null or reacted_at is not null;
