"""The step engine: one PostgreSQL transaction a batch, recorded before it acts (DESIGN §6, protocols §1)."""
