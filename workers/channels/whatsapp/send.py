"""Sending through the WhatsApp Cloud API: one call a part, `POST {base}/{phone number id}/messages`. Source:
channel-apis §2.3.
"""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import orjson

from schemas.addresses import Address
from schemas.content import Content, TemplateContent, TextContent
from workers import meta
from workers.channel import AccountAccess, DeliverySteps, InvalidLink, ProviderRequest, UnsupportedContent
from workers.channels.whatsapp import errors
from workers.inbound_values import JsonObject
from workers.links import check_token

TEXT_MAX_CHARACTERS = 4_096
_NUMBER = re.compile(r"[1-9][0-9]{6,14}", re.ASCII)


def deliver(
    content: Content,
    address: Address,
    account: AccountAccess,
    echo: str,
) -> DeliverySteps:
    """Send one part to one address; `echo` comes back in every status of it."""
    body = _body(content) | _recipient(address) | {"biz_opaque_callback_data": echo}
    response = yield ProviderRequest(
        method="POST",
        url=f"{account.api_base_url.rstrip('/')}/{quote(account.provider_account_id, safe='')}/messages",
        headers={
            "Authorization": f"Bearer {account.access_token}",
            "Content-Type": "application/json",
        },
        body=orjson.dumps({"messaging_product": "whatsapp", **body}),
    )
    return meta.outcome_of(response, errors.classify, _provider_id)


def chat_link(account_number: str, token: str) -> str:
    """`https://wa.me/<digits>?text=<token>`; InvalidLink when the number is not international or the token
    cannot ride.
    """
    digits = re.sub(r"[\s()+\-./]", "", account_number)
    if not _NUMBER.fullmatch(digits):
        raise InvalidLink("the account's number is not an international phone number")
    check_token(token)
    return f"https://wa.me/{digits}?text={quote(token, safe='')}"


def _recipient(address: Address) -> JsonObject:
    if address.channel != "whatsapp":
        raise UnsupportedContent(f"an address of channel {address.channel!r} is none of whatsapp")
    if address.kind == "phone":
        return {"recipient_type": "individual", "to": address.value}
    return {"recipient_type": "individual", "recipient": address.value}


def _body(content: Content) -> JsonObject:
    if isinstance(content, TextContent):
        if len(content.text) > TEXT_MAX_CHARACTERS:
            raise UnsupportedContent(f"a WhatsApp text has at most {TEXT_MAX_CHARACTERS} characters")
        return {"type": "text", "text": {"preview_url": False, "body": content.text}}
    if not isinstance(content, TemplateContent):
        raise UnsupportedContent(f"WhatsApp is not sent {content.type}")
    template: JsonObject = {
        "name": content.name,
        "language": {
            "policy": "deterministic",
            "code": content.language.replace("-", "_"),
        },
    }
    parameters = _parameters(content.variables)
    if parameters:
        template["components"] = [{"type": "body", "parameters": parameters}]
    return {"type": "template", "template": template}


def _parameters(variables: list[str] | Mapping[str, str]) -> list[dict[str, Any]]:
    if isinstance(variables, list):
        return [{"type": "text", "text": text} for text in variables]
    return [{"type": "text", "parameter_name": name, "text": text} for name, text in variables.items()]


def _provider_id(body: bytes) -> str | None:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    messages = found.get("messages") if isinstance(found, dict) else None
    first = messages[0] if isinstance(messages, list) and messages else None
    provider_id = first.get("id") if isinstance(first, dict) else None
    return provider_id if isinstance(provider_id, str) and provider_id else None
