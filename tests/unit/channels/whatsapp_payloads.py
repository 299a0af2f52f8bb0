"""WhatsApp payloads of our own making, after channel-apis §2."""

from pathlib import Path
from typing import Any

import orjson

OWN = "106540352242922"
FIXTURES = Path(__file__).parents[4] / "shared" / "fixtures"
NO_FIXTURES = "the folder ../shared/fixtures with other projects' payloads is not here"
JsonObject = dict[str, Any]


def change(field: str = "messages", own: str = OWN, **value: Any) -> JsonObject:
    """One change of one of our numbers."""
    metadata = {"display_phone_number": "15550783881", "phone_number_id": own}
    return {"field": field, "value": {"messaging_product": "whatsapp", "metadata": metadata, **value}}


def webhook(*entries: list[JsonObject]) -> bytes:
    """A body with one entry for each list of changes."""
    found = [{"id": f"waba-{n}", "changes": changes} for n, changes in enumerate(entries)]
    return orjson.dumps({"object": "whatsapp_business_account", "entry": found})


def message(provider_id: str = "wamid.1", sender: str | None = "4915112345678", **fields: Any) -> JsonObject:
    """A text, unless `fields` say otherwise."""
    found: JsonObject = {
        "id": provider_id,
        "timestamp": "1731705721",
        "type": "text",
        "text": {"body": "Hallo"},
    }
    return found | ({"from": sender} if sender else {}) | fields


def contact(wa_id: str | None = "4915112345678", name: str | None = "Ada", **fields: Any) -> JsonObject:
    """Who wrote."""
    profile: JsonObject = {"profile": {"name": name}} if name else {}
    return profile | ({"wa_id": wa_id} if wa_id else {}) | fields


def status(word: str = "delivered", provider_id: str = "wamid.1", **fields: Any) -> JsonObject:
    """A status to a phone."""
    return {
        "id": provider_id,
        "status": word,
        "timestamp": "1731705722",
        "recipient_id": "4915112345678",
        **fields,
    }
