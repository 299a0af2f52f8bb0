"""How the simulated API reads a request to send: what it takes, and with which error it refuses the rest.

Source: channel-apis §2.3 and §2.7, August 2026. The limits are those of `send`; that both mean the same by them is tested.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

from schemas import ids
from workers import meta
from workers.channels.whatsapp import errors, send, wire
from workers.inbound_values import JsonObject
from workers.simulated_provider import ProviderError, json_answer

ECHO_MAX_CHARACTERS = 512
BUTTON_ID_MAX_CHARACTERS = 256
ROW_ID_MAX_CHARACTERS = 200
SECTIONS_MAX = 10
BLANKS = " \t\r\n"
PARAMETER, MISSING, VALUE, TYPE = 100, 131008, 131009, 131051
"""Codes of what is wrong with a request: a parameter's form, a parameter missing, its value, the message's type."""
MEDIA_MEMBERS: Mapping[str, frozenset[str]] = {
    "image": frozenset(("id", "link", "caption")),
    "video": frozenset(("id", "link", "caption")),
    "audio": frozenset(("id", "link", "voice")),
    "document": frozenset(("id", "link", "caption", "filename")),
    "sticker": frozenset(("id", "link")),
}


class GraphError(ProviderError):
    """The simulated API answers with an error body; `details` quotes the request only where a test asks for that."""

    def __init__(
        self, code: int, details: str, *, http: int | None = None, subcode: int | None = None
    ) -> None:
        super().__init__(f"({code}) {details}")
        self.code, self.details, self.subcode = code, details, subcode
        self.http = http or (errors.CODES[code].http if code in errors.CODES else 400)

    def response(self, retry_after_s: float | None = None) -> web.Response:
        """The provider's answer, with a usage header when a wait is named."""
        title = errors.CODES[self.code].note if self.code in errors.CODES else "error"
        body: JsonObject = {
            "message": f"(#{self.code}) {title}",
            "type": "OAuthException",
            "code": self.code,
            "error_data": {"messaging_product": "whatsapp", "details": self.details},
            "fbtrace_id": ids.random_id(),
        }
        if self.subcode is not None:
            body["error_subcode"] = self.subcode
        answer = json_answer({"error": body}, self.http)
        if retry_after_s is not None:
            minutes = math.ceil(retry_after_s / meta.S_PER_MINUTE)
            usage = [{"type": "messaging", "call_count": 100, "estimated_time_to_regain_access": minutes}]
            answer.headers["X-Business-Use-Case-Usage"] = orjson.dumps(
                {wire.BUSINESS_ACCOUNT_ID: usage}
            ).decode()
            answer.headers["Retry-After"] = f"{retry_after_s:g}"
        return answer


@dataclass(frozen=True, slots=True)
class Send:
    """A request to send that passed validation; `to` is digits or a business-scoped user id, `body` what is read on the phone.

    `shown`: what the record holds of it besides, by kind. `answers`: the id of the message that it answers.
    """

    to: str = field(repr=False)
    kind: str
    body: str = field(repr=False)
    shown: JsonObject = field(repr=False)
    echo: str | None
    answers: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class ReadMark:
    """A request to show that a message was read, with or without the sign that somebody types."""

    message: str = field(repr=False)


def read_request(raw: bytes, own_number: str) -> Send | ReadMark:
    """Validate a request as the API does; raises GraphError."""
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise GraphError(PARAMETER, "The body is not valid JSON.") from None
    if not isinstance(body, dict) or body.get("messaging_product") != "whatsapp":
        raise GraphError(PARAMETER, "The parameter messaging_product is required.")
    if body.get("status") is not None and "type" not in body:
        return _read_mark(body)
    to = _recipient(body)
    if to == re.sub(r"\D", "", own_number):
        raise GraphError(131021, "Recipient phone number cannot be sender phone number.")
    echo = body.get("biz_opaque_callback_data")
    if echo is not None and (not isinstance(echo, str) or len(echo) > ECHO_MAX_CHARACTERS):
        raise GraphError(
            PARAMETER, "Parameter biz_opaque_callback_data must be text of at most 512 characters."
        )
    kind = body.get("type", "text")
    if not isinstance(kind, str):
        raise GraphError(PARAMETER, "The parameter type must be text.")
    text, shown = _said(kind, body)
    return Send(to, kind, text, shown, echo, _answered(body))


def _read_mark(body: JsonObject) -> ReadMark:
    message = body.get("message_id")
    if body["status"] != "read":
        raise GraphError(PARAMETER, "The parameter status must be read.")
    if not isinstance(message, str) or not message:
        raise GraphError(PARAMETER, "The parameter message_id is required.")
    return ReadMark(message)


def _recipient(body: JsonObject) -> str:
    given = body.get("to") if body.get("to") is not None else body.get("recipient")
    if given is None:
        raise GraphError(PARAMETER, "The parameter to is required.")
    found = wire.address(given)
    if found is None or (body.get("to") is not None) != (found.kind == "phone"):
        raise GraphError(VALUE, "Parameter to must be a phone number, recipient a business-scoped user ID.")
    return found.value


def _answered(body: JsonObject) -> str | None:
    if body.get("context") is None:
        return None
    answered = meta.mapping(body["context"]).get("message_id")
    if not isinstance(answered, str) or not answered:
        raise GraphError(MISSING, "The parameter context['message_id'] is required.")
    return answered


def _said(kind: str, body: JsonObject) -> tuple[str, JsonObject]:
    """(what is read on the phone, what the record holds besides) of a request by its type."""
    part = meta.mapping(body.get(kind))
    if kind == "text":
        return _parameter("text['body']", part.get("body"), send.TEXT_MAX_CHARACTERS), {}
    if kind == "template":
        template = _template(part)
        return " ".join([template["name"], *template["variables"]]), {"template": template}
    if kind == "interactive":
        return _interactive(part)
    if kind in MEDIA_MEMBERS:
        return _media(kind, part)
    raise GraphError(TYPE, "The simulator takes text, template, interactive and media.")


def _parameter(name: str, text: Any, most: int) -> str:
    if not isinstance(text, str) or not text.strip(BLANKS):
        raise GraphError(PARAMETER, f"The parameter {name} is required.")
    if len(text) > most:
        raise GraphError(PARAMETER, f"Param {name} must be at most {most} characters long.")
    return text


def _template(template: Mapping[str, Any]) -> JsonObject:
    name, language = template.get("name"), meta.mapping(template.get("language")).get("code")
    if not isinstance(name, str) or not name or not isinstance(language, str) or not language:
        raise GraphError(MISSING, "Template name and language code are required.")
    components = template.get("components", [])
    if not isinstance(components, list):
        raise GraphError(132012, "Template components must be a list.")
    variables: list[str] = []
    for component in components:
        parameters = meta.mapping(component).get("parameters", [])
        for parameter in parameters if isinstance(parameters, list) else [None]:
            text = meta.mapping(parameter).get("text")
            if not isinstance(text, str):
                raise GraphError(132012, "A template parameter must have a text.")
            variables.append(text)
    return {"name": name, "language": language, "variables": variables, "components": components}


def _media(kind: str, part: Mapping[str, Any]) -> tuple[str, JsonObject]:
    strange = part.keys() - MEDIA_MEMBERS[kind]
    if strange:
        raise GraphError(PARAMETER, f"Unexpected key on param {kind}.")
    link = part.get("link")
    if link is None and not isinstance(part.get("id"), str):
        raise GraphError(MISSING, f"The parameter {kind} needs an id or a link.")
    if link is not None and not (isinstance(link, str) and re.match(r"https?://[^\s/]", link)):
        raise GraphError(VALUE, f"Param {kind}['link'] must be a URL.")
    caption = part.get("caption")
    if caption is not None:
        caption = _parameter(f"{kind}['caption']", caption, send.CAPTION_MAX_CHARACTERS)
    return caption or "", {"media": {"kind": kind, **part}}


# ---- choices ------------------------------------------------------------------------------------------------------


def _interactive(part: Mapping[str, Any]) -> tuple[str, JsonObject]:
    type_, action = part.get("type"), meta.mapping(part.get("action"))
    if type_ not in ("button", "list"):
        raise GraphError(VALUE, "The simulator takes the interactive types button and list.")
    text = _value(
        "Body text", meta.mapping(part.get("body")).get("text"), send.INTERACTIVE_TEXT_MAX_CHARACTERS
    )
    if type_ == "button":
        return text, {"buttons": _buttons(action)}
    return text, {"list": _list(action)}


def _value(what: str, text: Any, most: int) -> str:
    if text is None:
        raise GraphError(MISSING, f"{what} is required.")
    if not isinstance(text, str) or not text.strip(BLANKS) or len(text) > most:
        raise GraphError(VALUE, f"{what} length invalid. Min length: 1, Max length: {most}.")
    return text


def _counted(what: str, found: Any, most: int) -> Sequence[Any]:
    if not isinstance(found, list) or not 1 <= len(found) <= most:
        raise GraphError(VALUE, f"Invalid {what} count. Min allowed: 1, Max allowed: {most}.")
    return found


def _differ(what: str, texts: list[str]) -> None:
    if len(set(texts)) < len(texts):
        raise GraphError(VALUE, f"Duplicated {what}.")


def _buttons(action: Mapping[str, Any]) -> list[JsonObject]:
    found: list[JsonObject] = []
    for button in _counted("buttons", action.get("buttons"), send.BUTTONS_MAX):
        reply = meta.mapping(meta.mapping(button).get("reply"))
        if meta.mapping(button).get("type") != "reply":
            raise GraphError(VALUE, "Invalid button type.")
        own_id = _value("Button id", reply.get("id"), BUTTON_ID_MAX_CHARACTERS)
        title = _value("Button title", reply.get("title"), send.BUTTON_TITLE_MAX_CHARACTERS)
        found.append({"id": own_id, "title": title})
    _differ("button id", [button["id"] for button in found])
    _differ("button title", [button["title"] for button in found])
    return found


def _list(action: Mapping[str, Any]) -> JsonObject:
    label = _value("Button label", action.get("button"), send.LIST_BUTTON_MAX_CHARACTERS)
    sections = _counted("sections", action.get("sections"), SECTIONS_MAX)
    found: list[JsonObject] = []
    for section in sections:
        title = meta.mapping(section).get("title")
        if title is not None or len(sections) > 1:
            title = _value("Section title", title, send.SECTION_TITLE_MAX_CHARACTERS)
        rows = _counted("rows", meta.mapping(section).get("rows"), send.LIST_ROWS_MAX)
        found.append({"title": title, "rows": [_row(meta.mapping(row)) for row in rows]})
    rows_found = [row for section in found for row in section["rows"]]
    _counted("rows", rows_found, send.LIST_ROWS_MAX)
    _differ("row id", [row["id"] for row in rows_found])
    return {"button": label, "sections": found}


def _row(row: Mapping[str, Any]) -> JsonObject:
    found = {
        "id": _value("Row id", row.get("id"), ROW_ID_MAX_CHARACTERS),
        "title": _value("Row title", row.get("title"), send.ROW_TITLE_MAX_CHARACTERS),
    }
    if row.get("description") is None:
        return found
    most = send.ROW_DESCRIPTION_MAX_CHARACTERS
    return {**found, "description": _value("Row description", row["description"], most)}
