-- A message is asked about by its id alone (`sealpost message explain`).
create index message_by_id on projections.message (message);
