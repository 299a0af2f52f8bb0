"""By which way a message came: the token of a form or link in it, looked up in the vault (channel-apis §0).

A hit is never proof of who wrote. Words that are passed on (`forwarded`) hold no token: they are another's. In a conversation
that another app has (`standby`) nobody is signed up.
"""

from typing import Any

from schemas.entry_tokens import FoundToken, find_token, read_token, token_hash
from schemas.events.messages import Entry
from vault.entry_tokens import UsedToken
from workers.inbound_values import InboundMessage


def token_in(value: InboundMessage) -> FoundToken | None:
    """The token that came with a message: beside the words where the channel carries it there, else anywhere in them."""
    if value.forwarded or value.standby:
        return None
    found = find_token(value.words)
    if value.token is not None:
        beside = read_token(value.token)
        if beside is not None:
            return FoundToken(beside, found.rest if found is not None else value.words)
    return found


def entry_of(found: FoundToken, used: UsedToken | None) -> Entry:
    """What events say of a token; `used` is what the vault knows of it. Of a token that counts no more no opt-in is named: it may
    be another person's, or that of somebody who was erased."""
    if found.token is None:
        return Entry(outcome="edited")
    if used is None:
        return Entry(outcome="unknown")
    entry = Entry.model_validate({**used.facts, "kind": used.kind, "outcome": used.outcome})
    if entry.outcome == "fresh":
        return entry
    unnamed = [asked.model_copy(update={"optin": ""}) for asked in entry.purposes]
    return entry.model_copy(update={"purposes": unnamed, "requested_at": None})


def words_beside(found: FoundToken, used: UsedToken | None) -> str:
    """What the person herself put beside a token: the prepared words are no act of hers unless she changed them."""
    draft = str(used.facts.get("draft", "")) if used is not None else ""
    return found.rest.replace(draft, "").strip() if draft else found.rest


def without_token(words: str) -> str:
    """Words as they read without a token: it is no part of what somebody says."""
    found = find_token(words)
    return words if found is None else found.rest


def entry_evidence(found: FoundToken, entry: Entry) -> dict[str, Any]:
    """What the proof of a consent keeps of the way, sealed: the token's hash shows that it was this one."""
    hashed = token_hash(found.token).hex() if found.token is not None else None
    return {"token_hash": hashed, **entry.model_dump(exclude_none=True)}
