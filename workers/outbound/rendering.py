"""What a message says: Sealpost's own texts rendered at the last moment, or the sealed content opened."""

from collections.abc import Mapping

import orjson
from pydantic import TypeAdapter, ValidationError

from schemas.content import Content, TemplateContent, TextContent
from schemas.envelope import Event, SealedBlock
from schemas.settings import TenantSettings
from schemas.wording import wording
from vault.outcomes import Corrupt, Plain
from vault.sealing import SealContext, open_block, seal
from workers.outbound.commands import Message

_CONTENT: TypeAdapter[TextContent | TemplateContent] = TypeAdapter(Content)


def own_text(message: Message, settings: TenantSettings) -> TextContent | None:
    """The words of the text a command names, with business, purpose and privacy notice filled in.

    None when this version does not know the text, or the tenant has published no notice although the text shows one.
    """
    command = message.command
    if command.text is None:
        return None
    words = wording(settings, command.text, command.about or command.purpose, command.notice)
    return None if words is None else TextContent(text=words)


def open_content(
    message: Message, block: SealedBlock, key: bytes
) -> Plain[TextContent | TemplateContent] | Corrupt:
    """Open a command's content with its content key; Corrupt also when what it holds is no content."""
    opened = open_block(key, _context(message.event, block.gen), block)
    if isinstance(opened, Corrupt):
        return opened
    try:
        return Plain(_CONTENT.validate_json(opened.value))
    except ValidationError:
        return Corrupt("content")


def seal_personal(event: Event, gen: str, key: bytes, personal: Mapping[str, str]) -> SealedBlock:
    """Seal what is personal in an event of ours (its `data.sealed` is not looked at) under the content key `gen`."""
    return seal(key, _context(event, gen), orjson.dumps(personal))


def _context(event: Event, gen: str) -> SealContext:
    return SealContext(event.tenant, event.subject, event.id, event.type, "content", gen)
