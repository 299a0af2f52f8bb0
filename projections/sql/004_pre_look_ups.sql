-- A message is asked about by its id alone (`sealpost message explain`).
create index message_by_id on projections.message (message);
-- And an erasure by whose it is (`sealpost subject timeline`).
create index erasure_by_subject on projections.erasure (tenant, subject);
