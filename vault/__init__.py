"""The only place where keys, addresses, permissions and claims live (DESIGN §7, protocols §5–7).

Callers see a `vault.vault.Vault`; `vault.sealing`, `vault.ingress` and `vault.outcomes` are pure and may be used anywhere.
"""
