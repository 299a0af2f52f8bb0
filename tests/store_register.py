"""Every table that may know a person, and what becomes of that at an erasure (privacy.md P26).

A test compares this page with the databases as the migrations make them: a new table stands either under the store of
`schemas.stores` whose purge empties it of the person, or under what stays, with the reason.
"""

from schemas.stores import PROJECTION_V1, SUBSCRIBER_STATE, VAULT

EMPTIED: dict[str, tuple[str, frozenset[str]]] = {
    VAULT: (
        "vault",
        frozenset(
            f"vault.{table}"
            for table in (
                "addresses", "blocked", "consents", "links", "list_members", "permissions", "profiles", "proofs", "reach",
                "requests",
            )
        ) | {"step.due"},
    ),
    SUBSCRIBER_STATE: ("streams", frozenset({"streams.state", "step.due"})),
    PROJECTION_V1: (
        "projections",
        frozenset(
            f"projections.{table}"
            for table in (
                "address", "consent", "message", "permission", "reach", "subject", "subscription", "unknown_event",
            )
        ),
    ),
}  # fmt: skip
"""Store → its database and the tables that hold no row of a person any more when the store has answered."""

_STEP = {
    "step.outbox": "events as they are in the log, until the next step",
    "step.seen": "ids of events, for the horizon; they name nobody",
}

STAYS: dict[str, dict[str, str]] = {
    "vault": {
        **_STEP,
        "vault.subjects": "the fence",
        "vault.keys": "keys are null; class, generation and times stay, evidence by its date (what-remains.md)",
        "vault.erased_index": "until Tr (what-remains.md)",
        "vault.evidence_index": "until the date of the retained evidence (what-remains.md)",
        "vault.claims": "the horizon: message and subject ids, no words (what-remains.md)",
        "vault.outcomes": "the horizon: sealed statuses and a blind index (what-remains.md)",
        "vault.cancellations": "the horizon: message ids",
        "vault.tenants": "of the tenant",
        "vault.peppers": "of the tenant",
        "vault.day_keys": "of the tenant; they die at Tr",
        "vault.connections": "of the tenant",
        "vault.accounts": "of the tenant",
        "vault.tokens": "of who uses Sealpost",
        "vault.entry_tokens": "by which way somebody came: hashes of tokens and ids of messages, no subject",
        "vault.signing_keys": "of the installation",
        "vault.master_key": "of the installation: a check value, no key",
    },
    "streams": {**_STEP, "streams.fence": "the fence"},
    "projections": {
        **_STEP,
        "step.due": "the projector sets no wakes",
        "projections.fence": "the fence",
        "projections.erasure": "the proof; no person in it (what-remains.md)",
        "projections.receipt": "the proof; no person in it (what-remains.md)",
    },
}
"""Database → table → why an erasure leaves it as it is."""
