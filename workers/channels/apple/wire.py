"""The provider's JSON as pydantic models: only what Sealpost reads, everything else is ignored and stays in the fragment.

Below them what proves a call (a JSON Web Token), how a body is opened, what a person chose in an interactive answer, and
`facts`: a flat reading of any message, for `sealpost parse`; it knows shapes of resellers too. Last, messages as the provider
writes them, for the simulator.

Sources: https://register.apple.com/resources/messages/msp-rest-api/common-specs, …/messages-received and …/type-interactive
(channel-apis §5.1, 2026-08-19).
"""

import gzip
import hmac
import re
import zlib
from base64 import b64decode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha1, sha256
from typing import Any, Literal

import orjson
from pydantic import Field

from schemas.addresses import Address, international_number
from schemas.constants import WEBHOOK_MAX_BYTES
from workers.channel import UnparseableBody, UnparseableFragment
from workers.inbound_values import FileKind, JsonObject, Media, MessageKind
from workers.webhook_body import Part

TYPES = frozenset(("text", "interactive", "richLink", "typing_start", "typing_end", "close"))
"""Kinds of messages that may stand in clear; another one is `other`."""
TYPING = frozenset(("typing_start", "typing_end"))
BUSINESS_BID = (
    "com.apple.messages.MSMessageExtensionBalloonPlugin:0000000000:"
    "com.apple.icloud.apps.messages.business.extension"
)
"""The extension that shows Apple's own interactive messages."""
SOURCE, DESTINATION = "sourceId", "destinationId"
HEADERS = {"id": "id", "source-id": SOURCE, "destination-id": DESTINATION}
"""Header → member of the body that says the same."""
PLACE_OF_FILE = "\ufffc"
"""Stands in a text for each file that is sent with it."""
ID_MAX_CHARACTERS = 255
_OPAQUE = re.compile(rf"(?!(?i:tel:)|\+)[\x21-\x7e]{{1,{ID_MAX_CHARACTERS}}}", re.ASCII)
_TEL = "tel:"


class Head(Part):
    """What every message has. `destination_id` is our business."""

    id: str = Field(min_length=1, max_length=ID_MAX_CHARACTERS)
    type: str
    source_id: str = Field(default="", alias=SOURCE)
    destination_id: str = Field(default="", alias=DESTINATION)


def address(text: str) -> Address | None:
    """Whom an id names: a person by Apple's opaque id, or by the number that an invitation went to (`tel:+…` or `+…`, kept
    as `+` and digits)."""
    text = text.strip()
    if _OPAQUE.fullmatch(text):
        return Address("apple", "opaque", text)
    number = text[len(_TEL) :] if text[: len(_TEL)].lower() == _TEL else text
    digits = international_number(number) if number.startswith("+") else None
    return Address("apple", "phone", f"+{digits}") if digits else None


def person(source_id: str) -> Address:
    """The same of who sent a message; UnparseableFragment when nobody has it."""
    found = address(source_id)
    if found is None:
        raise UnparseableFragment("no_address")
    return found


def is_number(text: object) -> bool:
    """True for `tel:…`: the number of somebody who is or was invited."""
    return isinstance(text, str) and text[: len(_TEL)].lower() == _TEL


def known(word: object, words: frozenset[str]) -> str:
    """A provider's word if it is on the list of those that may stand in clear, else `other`."""
    return word if isinstance(word, str) and word in words else "other"


def mapping(value: object) -> Mapping[str, Any]:
    """The value if it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}


def objects(value: object) -> list[Mapping[str, Any]]:
    """A list's elements, each as an object; [] for what is no list."""
    return [mapping(one) for one in value] if isinstance(value, list) else []


def word(value: object) -> str | None:
    """A text that is not empty; None for everything else."""
    return value if isinstance(value, str) and value else None


# ---- proof --------------------------------------------------------------------------------------------------------

TOKEN_MAX_CHARACTERS = 4_096
_ALGORITHM = "HS256"
_BASE64URL = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


def key_of(secret: str) -> bytes | None:
    """The key that an MSP secret (standard base64) stands for; None when it is none."""
    try:
        return b64decode(secret.strip(), validate=True) or None
    except ValueError:
        return None


def made_token(claims: JsonObject, key: bytes) -> str:
    """A JSON Web Token with these claims (RFC 7519, HS256)."""
    head = orjson.dumps({"alg": _ALGORITHM, "typ": "JWT"})
    signed = f"{_encoded(head)}.{_encoded(orjson.dumps(claims))}"
    return f"{signed}.{_encoded(_signature(signed, key))}"


def read_token(token: str, key: bytes) -> JsonObject | Literal["malformed", "mismatch"]:
    """The claims of a token that is signed with this key; why not, when it is not. What they say is not looked at."""
    parts = token.split(".") if len(token) <= TOKEN_MAX_CHARACTERS else []
    if len(parts) != 3:
        return "malformed"
    head, given = _object(parts[0]), _decoded(parts[2])
    if head is None or given is None or head.get("alg") != _ALGORITHM or "crit" in head:
        return "malformed"
    if not hmac.compare_digest(given, _signature(f"{parts[0]}.{parts[1]}", key)):
        return "mismatch"
    claims = _object(parts[1])
    return "malformed" if claims is None else claims


def _signature(signed: str, key: bytes) -> bytes:
    return hmac.new(key, signed.encode(), sha256).digest()


def _encoded(part: bytes) -> str:
    return urlsafe_b64encode(part).rstrip(b"=").decode()


def _decoded(part: str) -> bytes | None:
    if not _BASE64URL.fullmatch(part) or len(part) % 4 == 1:
        return None
    return urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _object(part: str) -> JsonObject | None:
    decoded = _decoded(part)
    try:
        found = orjson.loads(decoded or b"")
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None


# ---- body ---------------------------------------------------------------------------------------------------------

_GZIP = b"\x1f\x8b"
_GZIP_WINDOW = 31
"""zlib's word for: 32 KiB, with the head and the check sum of gzip."""


def opened(body: bytes) -> bytes:
    """The body without gzip; UnparseableBody when it would be larger than a webhook may be, or is no whole gzip stream. At most
    that much is ever unpacked."""
    if not body.startswith(_GZIP):
        return body
    stream = zlib.decompressobj(wbits=_GZIP_WINDOW)
    try:
        found = stream.decompress(body, WEBHOOK_MAX_BYTES + 1)
    except zlib.error:
        raise UnparseableBody("an authentic body is no gzip") from None
    if len(found) > WEBHOOK_MAX_BYTES:
        raise UnparseableBody("an authentic body is too large when it is unpacked")
    if not stream.eof or stream.unused_data:
        raise UnparseableBody("an authentic body is no whole gzip stream")
    return found


# ---- files --------------------------------------------------------------------------------------------------------

_FILE_KINDS: Mapping[str, FileKind] = {"image": "image", "video": "video", "audio": "audio"}


def media(attachments: object) -> tuple[Media, ...]:
    """The files of a message. One that the provider dropped has neither id nor place, so that it is shown as missing; what else
    is needed to fetch one (owner, key) stands in the fragment."""
    return tuple(_media(one) for one in objects(attachments))


def _media(one: Mapping[str, Any]) -> Media:
    mime_type = word(one.get("mimeType")) or word(one.get("mime-type"))
    url = file_url(one)
    return Media(
        _FILE_KINDS.get((mime_type or "").partition("/")[0].lower(), "document"),
        mime_type,
        (word(one.get("signature")) or word(one.get("signature-base64"))) if url else None,
        url,
        word(one.get("name")) or word(one.get("fileName")),
    )


def file_url(one: Mapping[str, Any]) -> str | None:
    """Where a file lies; None when the provider dropped it."""
    if one.get("dropped") is True:
        return None
    return word(one.get("url")) or word(one.get("mmcs-url")) or word(one.get("fileUrl"))


# ---- interactive answers ------------------------------------------------------------------------------------------

FORMS: Mapping[str, str] = {
    "quick-reply": "quick_reply", "listPicker": "list_picker", "event": "time_picker", "timePicker": "time_picker",
    "dynamic": "form", "notification": "invitation", "authenticate": "authenticate", "payment": "payment",
}  # fmt: skip
"""Member of `interactiveData.data` that says what was answered → our word for it."""
_WHOLE = frozenset(("time_picker", "form", "invitation"))
"""Answers that are more than one choice."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a person answered; fields as in InboundMessage. `content`: the choice itself, by which a repetition is known."""

    kind: MessageKind
    provider_kind: str
    content: Any
    option_id: str | None = None
    option_title: str | None = None


def answer_of(data: Mapping[str, Any]) -> Answer:
    """What `interactiveData.data` answers. An invitation that was accepted is a form, not a pressed button: its yes was said to
    the invitation, and must not count as a yes to a question of ours."""
    member = next((name for name in FORMS if name in data), "")
    if not member:
        return Answer("unsupported", "extension", dict(data))
    kind, part = FORMS[member], data[member]
    chosen = _chosen_quick(mapping(part)) if kind == "quick_reply" else []
    if kind == "list_picker":
        chosen = [
            one for section in objects(mapping(part).get("sections")) for one in objects(section.get("items"))
        ]
    ids = [word(one.get("identifier")) for one in chosen]
    if len(chosen) == 1 and ids[0] is not None:
        reply: MessageKind = "button_reply" if kind == "quick_reply" else "list_reply"
        return Answer(reply, kind, ids, ids[0], word(chosen[0].get("title")))
    several = kind == "list_picker" and len(chosen) > 1
    return Answer("form_reply" if several or kind in _WHOLE else "unsupported", kind, part)


def _chosen_quick(part: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The button that was pressed: named by its id, by its number, or both."""
    items, index = objects(part.get("items")), part.get("selectedIndex")
    identifier = word(part.get("selectedIdentifier"))
    if identifier is not None:
        named = [one for one in items if one.get("identifier") == identifier]
        return named[:1] or [{"identifier": identifier}]
    if isinstance(index, int) and not isinstance(index, bool) and 0 <= index < len(items):
        return [items[index]]
    return []


def answer_id(source_id: str, session: str, answer: Answer) -> str:
    """What an answer is called: it comes twice within two seconds, under two ids, of one session (channel-apis §5.1)."""
    facts = orjson.dumps(
        [source_id, session, answer.provider_kind, answer.content], option=orjson.OPT_SORT_KEYS
    )
    return f"answer:{sha256(facts).hexdigest()}"


# ---- our own ids --------------------------------------------------------------------------------------------------

_NAMESPACE = bytes.fromhex("6c2f4f0e5d3b4c1c9a53f0d9a1c0b7e2")
"""A random UUID; ids made in it are no other program's."""


def message_id(echo: str) -> str:
    """The id under which a part goes out: a UUID made of its name (RFC 9562, version 5), so that a repetition has the same."""
    digest = bytearray(sha1(_NAMESPACE + echo.encode(), usedforsecurity=False).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    text = digest.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


# ---- facts --------------------------------------------------------------------------------------------------------

_PLAIN = ("id", "locale", "intent", "group", "timestamp", "aliasId", "direction", "redacted", "v")
_INVITATION = "business-initiated invitation"
_EVENTS = {"close": "close", **dict.fromkeys(TYPING, "typing")}
_ANSWERS = {"yes": "invitation accepted", "no": "invitation declined"}


def is_reseller(item: Mapping[str, Any]) -> bool:
    """True for the form in which a reseller passes messages on."""
    return SOURCE not in item and ("aliasId" in item or "direction" in item)


def is_data(item: Mapping[str, Any]) -> bool:
    """True for `interactiveData.data` by itself."""
    return "type" not in item and SOURCE not in item and any(name in item for name in FORMS)


def is_outbound(item: Mapping[str, Any]) -> bool:
    """True for an invitation, as a business sends it to a number; nothing else goes to one."""
    return is_number(item.get(DESTINATION)) or (
        is_data(item) and "templateId" in mapping(item.get("notification"))
    )


def data_of(item: Mapping[str, Any]) -> Mapping[str, Any]:
    """What was answered, wherever it stands: in a message, by itself, or in a reseller's form."""
    if is_data(item):
        return item
    if is_reseller(item):
        return next((mapping(part) for name, part in item.items() if name.startswith("amb")), {})
    return mapping(mapping(item.get("interactiveData")).get("data"))


def facts(item: Mapping[str, Any]) -> JsonObject:
    """The facts of one message under flat names; never raises."""
    type_, source = item.get("type"), item.get(SOURCE)
    if is_reseller(item) and isinstance(type_, str):
        type_ = type_.replace("-", " ")
    number = address(source) if isinstance(source, str) and is_number(source) else None
    found: JsonObject = {name: item.get(name) for name in _PLAIN} | {
        "from": source,
        "to": item.get(DESTINATION),
        "phone": number.value if number else None,
        "type": type_,
        "event": _EVENTS.get(type_) if isinstance(type_, str) else None,
        "text": item.get("body", item.get("text")),
        "in_reply_to": item.get("replyToMessageId"),
        "reference_ids": item.get("referenceIds"),
        "data_by_reference": True if "interactiveDataRef" in item else None,
        "link": mapping(item.get("richLinkData")).get("url"),
        "link_title": mapping(item.get("richLinkData")).get("title"),
    }
    found = {name: fact for name, fact in found.items() if fact is not None}
    if "attachments" in item:
        files = objects(item["attachments"])
        found |= {"text": found.get("text"), "attachments": len(files)}
        found["usable_attachments"] = sum(file_url(one) is not None for one in files)
        found["missing_attachments"] = len(files) - found["usable_attachments"]
        found["files"] = [one.mime_type for one in media(item["attachments"])]
    return found | _answer_facts(item)


def _answer_facts(item: Mapping[str, Any]) -> JsonObject:
    data = data_of(item)
    if not data:
        return {}
    answer = answer_of(data)
    invitation = mapping(data.get("notification"))
    found: JsonObject = {
        "interactive": answer.provider_kind,
        "option_id": answer.option_id,
        "option_title": answer.option_title,
        "session": mapping(item.get("interactiveData")).get("sessionIdentifier"),
        "request": data.get("requestIdentifier"),
        "reference": invitation.get("referenceId", data.get("referenceId")),
        "title": mapping(
            data.get("replyMessage") or mapping(item.get("interactiveData")).get("replyMessage")
        ).get("title"),
        **_chosen_facts(answer.provider_kind, answer.content),
    }
    if is_outbound(item):
        found |= {"direction": "outbound", "template": invitation.get("templateId")}
        if invitation:
            found |= {"kind": _INVITATION, "header": "message-type: notification"}
    elif invitation:
        given = invitation.get("id")
        found |= {"answer": given, "event": _ANSWERS.get(given) if isinstance(given, str) else None}
    return {name: fact for name, fact in found.items() if fact is not None}


def _chosen_facts(kind: str, part: Any) -> JsonObject:
    """What an answer says that is more than one choice, or none of ours."""
    inner = mapping(part)
    if kind == "list_picker":
        chosen = [one for section in objects(inner.get("sections")) for one in objects(section.get("items"))]
        return {"options": [one.get("identifier") for one in chosen]} if len(chosen) > 1 else {}
    if kind == "time_picker":
        slot = next(iter(objects(inner.get("timeslots"))), {})
        return {f"slot_{name}": slot.get(name) for name in ("identifier", "startTime", "duration")}
    if kind == "form":
        pages = objects(inner.get("selections"))
        return {
            "answers": {
                str(page.get("title")): [one.get("value") for one in objects(page.get("items"))]
                for page in pages
            }
        }
    if kind in ("authenticate", "payment"):
        return {name: inner.get(name) for name in ("status", "state")}
    return {}


# ---- as the provider writes it (for the simulator) ----------------------------------------------------------------


def webhook_bodies(message: JsonObject, ids: Iterator[str]) -> list[bytes]:
    """The bodies that one act of a person is told by: an interactive answer comes twice, under ids of its own."""
    times = 2 if message["type"] == "interactive" else 1
    named = [message if "id" in message else {**message, "id": next(ids)} for _ in range(times)]
    return [gzip.compress(orjson.dumps({"v": 1, **one}), mtime=0) for one in named]


def answer_json(member: str, choice: JsonObject, session: str) -> JsonObject:
    """`interactiveData` of a pressed button (`quick-reply`) or a chosen row (`listPicker`)."""
    item = {"identifier": choice["id"], "title": choice["title"]}
    part: JsonObject = (
        {"items": [item], "selectedIndex": 0, "selectedIdentifier": choice["id"]}
        if member == "quick-reply"
        else {"sections": [{"title": "", "order": 0, "items": [item]}]}
    )
    return {
        "bid": BUSINESS_BID,
        "sessionIdentifier": session,
        "data": {"version": "1.0", "requestIdentifier": session, member: part},
    }
