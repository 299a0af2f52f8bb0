"""What a message says: Sealpost's own texts rendered at the last moment, or the sealed content opened."""

from collections.abc import Mapping

import orjson
from pydantic import TypeAdapter, ValidationError

from schemas.content import Content, TextContent
from schemas.envelope import SealedBlock
from schemas.events.messages import SendCommand
from schemas.settings import TenantSettings
from schemas.wording import wording
from vault.outcomes import Corrupt, Plain
from vault.sealing import SealContext, open_block, seal
from workers.outbound.commands import Message

PREFERENCES = "preferences"
"""The one of our own texts that holds a key made for it."""
_CONTENT: TypeAdapter[Content] = TypeAdapter(Content)


def own_text(message: Message, settings: TenantSettings, preferences_url: str = "") -> TextContent | None:
    """The words of the text a command names, with business, purpose and privacy notice filled in.

    None when this version does not know the text, or what it shows is not there: a privacy notice, or (`preferences_url`) the
    address of the preference page.
    """
    command = message.command
    if command.text is None or (command.text.id == PREFERENCES and not preferences_url):
        return None
    words = wording(settings, command.text, command.about or command.purpose, command.notice, preferences_url)
    return None if words is None else TextContent(text=words)


def open_content(message: Message, block: SealedBlock, key: bytes) -> Plain[Content] | Corrupt:
    """Open a command's content with its content key, and cut out the command's part of it; Corrupt also when what it holds is no
    content, or has no such part."""
    event = message.event
    context = SealContext(event.tenant, event.subject, event.id, event.type, "content", block.gen)
    opened = open_block(key, context, block)
    if isinstance(opened, Corrupt):
        return opened
    try:
        content = _part_of(_CONTENT.validate_json(opened.value), message.command)
    except ValidationError:
        return Corrupt("content")
    return Corrupt("content") if content is None else Plain(content)


def _part_of(content: Content, command: SendCommand) -> Content | None:
    """What this command says of the content; None where there is no such part. Only the first shows what a text answers."""
    if command.text_from is None or command.text_to is None:
        return content
    if not isinstance(content, TextContent) or command.text_to > len(content.text):
        return None
    answered = content.in_reply_to if command.part == 0 else None
    return TextContent(text=content.text[command.text_from : command.text_to], in_reply_to=answered)


def seal_personal(
    message: Message, event_id: str, event_type: str, gen: str, key: bytes, personal: Mapping[str, str]
) -> SealedBlock:
    """Seal what is personal in an event that follows from a command under the content key `gen`."""
    event = message.event
    context = SealContext(event.tenant, event.subject, event_id, event_type, "content", gen)
    return seal(key, context, orjson.dumps(personal))
