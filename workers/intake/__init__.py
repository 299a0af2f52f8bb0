"""Commands by HTTP: recorded in the vault, produced, answered 202 (protocols §3)."""
