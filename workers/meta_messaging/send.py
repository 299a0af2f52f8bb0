"""Sending through Meta's Send API: one call a part, `POST {base}/{account id}/messages`.

Sources: https://developers.facebook.com/docs/messenger-platform/reference/send-api, quick replies
https://developers.facebook.com/docs/messenger-platform/send-messages/quick-replies, sender actions
https://developers.facebook.com/documentation/business-messaging/messenger-platform/send-messages/sender-actions and channel-apis
§3.2. The `metadata` of a message comes back in its echo:
https://developers.facebook.com/docs/messenger-platform/reference/webhook-events/message-echoes
"""

from urllib.parse import quote

import orjson

from schemas.addresses import Address
from schemas.content import (
    ButtonsContent,
    Content,
    ListContent,
    MediaContent,
    ReadMarkContent,
    TemplateContent,
    TextContent,
)
from workers import meta
from workers.channel import AccountAccess, DeliverySteps, ProviderRequest, UnsupportedContent
from workers.inbound_values import JsonObject
from workers.meta_messaging import errors
from workers.meta_messaging.platform import Platform

METADATA_MAX_CHARACTERS = 1_000
QUICK_REPLIES_MAX = 13
TITLE_MAX_CHARACTERS = 20
PAYLOAD_MAX_CHARACTERS = 1_000
MARK_SEEN = "mark_seen"


def deliver(
    platform: Platform, content: Content, address: Address, account: AccountAccess, echo: str
) -> DeliverySteps:
    """Send one part to one person as an answer within the window; `echo` comes back in the message's echo.

    A read mark is no message and gets no id of the provider's: `read:` and the message's stand for it.
    """
    if (address.channel, address.kind) != (platform.channel, platform.address_kind):
        raise UnsupportedContent(f"an address of channel {address.channel!r} is none of {platform.channel}")
    if isinstance(content, ListContent | TemplateContent):
        raise UnsupportedContent(f"{platform.title} has no {content.type} of this kind")
    made = None
    if isinstance(content, ReadMarkContent):
        if content.of is None:
            raise UnsupportedContent("a read mark says which message was read")
        said: JsonObject = {"sender_action": MARK_SEEN}
        made = f"read:{content.of}"
    else:
        said = {"messaging_type": "RESPONSE", "message": message_json(platform, content) | {"metadata": echo}}
        if content.in_reply_to is not None:
            said["reply_to"] = {"mid": content.in_reply_to}
    response = yield ProviderRequest(
        method="POST",
        url=f"{account.api_base_url.rstrip('/')}/{quote(account.provider_account_id, safe='')}/messages",
        headers={
            "Authorization": f"Bearer {account.access_token}",
            "Content-Type": "application/json",
        },
        body=orjson.dumps({"recipient": {"id": address.value}, **said}),
    )
    return meta.outcome_of(response, errors.classify, lambda body: _provider_id(body, made))


def message_json(platform: Platform, content: TextContent | MediaContent | ButtonsContent) -> JsonObject:
    """The `message` of a request; UnsupportedContent for what the platform does not take."""
    if content.in_reply_to is not None and not platform.replies:
        raise UnsupportedContent(f"a message of {platform.title} cannot show which one it answers")
    if isinstance(content, MediaContent):
        type_ = platform.media.get(content.kind)
        if type_ is None:
            raise UnsupportedContent(f"{platform.title} takes no {content.kind}")
        if content.filename is not None:
            raise UnsupportedContent("the name of a file that Meta fetches is that of its link")
        if content.caption is not None:
            raise UnsupportedContent(f"a file goes out without words on {platform.title}")
        return {"attachment": {"type": type_, "payload": {"url": content.url}}}
    if platform.length(content.text) > platform.text_max:
        limit = f"{platform.text_max} {platform.text_unit}"
        raise UnsupportedContent(f"a text of {platform.title} has at most {limit}")
    if isinstance(content, TextContent):
        return {"text": content.text}
    if len(content.buttons) > QUICK_REPLIES_MAX:
        raise UnsupportedContent(f"a message of {platform.title} has at most {QUICK_REPLIES_MAX} buttons")
    if any(len(button.title) > TITLE_MAX_CHARACTERS for button in content.buttons):
        raise UnsupportedContent(f"the title of a button has at most {TITLE_MAX_CHARACTERS} characters")
    replies = [
        {"content_type": "text", "title": button.title, "payload": button.id} for button in content.buttons
    ]
    return {"text": content.text, "quick_replies": replies}


def _provider_id(body: bytes, made: str | None) -> str | None:
    try:
        found = meta.mapping(orjson.loads(body))
    except orjson.JSONDecodeError:
        return None
    if made is not None:
        return made if "recipient_id" in found else None
    provider_id = found.get("message_id")
    return provider_id if isinstance(provider_id, str) and provider_id else None
