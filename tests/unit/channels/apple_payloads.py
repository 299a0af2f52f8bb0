"""Messages and tokens of Apple's of our own making, after channel-apis §5."""

from base64 import b64encode
from pathlib import Path
from typing import Any

import orjson

from tests.unit.channels.connection import Secrets
from workers.channel import WebhookRequest
from workers.channels.apple import wire

FIXTURES = Path(__file__).parents[4] / "shared" / "fixtures"
NO_FIXTURES = "the folder ../shared/fixtures with other projects' payloads is not here"
PERSON = "urn:mbid:AQAAY2xpZW50/one+Person="
BUSINESS = "0b7c5a3e-55c1-4d3c-9a6e-2f1d3f0c9b11"
MSP_ID = "5d1a6f0e-0c58-4d0a-8a3f-7f4f6b1f2c33"
KEY = b"a secret of thirty-two bytes ...."
SECRET = b64encode(KEY).decode()
SESSION = "8f14e45f-ceea-467f-a9c1-3b6a1c0f7d55"
SIGNED_S = 1_763_900_000
JsonObject = dict[str, Any]


def connection(**changed: str) -> Secrets:
    """A connection of this MSP."""
    return Secrets(**{"app_secret": SECRET, "app_id": MSP_ID, **changed})


def token(key: bytes = KEY, **claims: Any) -> str:
    """A token as Apple makes it; a claim of None is left out."""
    made = {"aud": MSP_ID, "iat": SIGNED_S, **claims}
    return wire.made_token({name: claim for name, claim in made.items() if claim is not None}, key)


def message(type_: str = "text", **members: Any) -> JsonObject:
    """A text, unless the members say otherwise; a member of None is left out."""
    said = {"body": "Hallo"} if type_ == "text" else {}
    made = {
        "v": 1, "id": "6f9c1a34-0d38-4b3c-8a54-0d2d9c6f2b10", "type": type_, "sourceId": PERSON, "destinationId": BUSINESS,
        "locale": "de_DE", **said, **members,
    }  # fmt: skip
    return {name: member for name, member in made.items() if member is not None}


def interactive(member: str, part: Any, session: str | None = SESSION, **members: Any) -> JsonObject:
    """An interactive answer."""
    data = {"version": "1.0", "requestIdentifier": SESSION, member: part}
    shown = {"bid": wire.BUSINESS_BID, "data": data}
    return message(
        "interactive",
        interactiveData=shown if session is None else {**shown, "sessionIdentifier": session},
        **members,
    )


def quick_reply(**part: Any) -> JsonObject:
    """The second of two buttons was pressed."""
    items = [{"identifier": "n", "title": "Nein"}, {"identifier": "j", "title": "Ja"}]
    return {"items": items, "selectedIndex": 1, "selectedIdentifier": "j", **part}


def rows(*identifiers: str) -> JsonObject:
    """These rows of a list were chosen."""
    items = [{"identifier": one, "title": one.upper(), "order": 0} for one in identifiers]
    return {"sections": [{"title": "Obst", "order": 0, "multipleSelection": True, "items": items}]}


def request(body: JsonObject | bytes | None = None, method: str = "POST", **headers: str) -> WebhookRequest:
    """A webhook as Apple posts it; a header of "" is left out, `_` in its name is `-`."""
    sent = message() if body is None else body
    raw = sent if isinstance(sent, bytes) else orjson.dumps(sent)
    named = {
        "authorization": f"Bearer {token()}",
        **{name.replace("_", "-"): v for name, v in headers.items()},
    }
    return WebhookRequest(method, {}, {name: value for name, value in named.items() if value}, raw)
