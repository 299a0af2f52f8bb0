-- The release before reads messages by this column and its index.
drop index projections.message_by_time;
alter table projections.message drop column at;
