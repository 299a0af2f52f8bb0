"""What tells Meta's messaging platforms from one another."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from schemas.addresses import AddressKind
from schemas.content import MediaKind
from workers.inbound_values import ReportedStatus


@dataclass(frozen=True, slots=True)
class Platform:
    """One platform: how its webhooks are marked, how its people are addressed, what its Send API takes.

    `object`: the word at the head of a webhook. `text_max` counts `text_unit`, bytes in UTF-8. `media`: what the platform calls
    each kind of file that may be sent. `replies`: a message can name the one it answers. `statuses`: what is reported of a
    message, in order; where `read_names_message` is false a read is a watermark. `link_source`: how a link names itself in
    what comes back of it.
    """

    channel: str
    title: str
    object: str
    address_kind: AddressKind
    text_max: int
    text_unit: Literal["characters", "bytes"]
    media: Mapping[MediaKind, str]
    replies: bool
    statuses: tuple[ReportedStatus, ...]
    read_names_message: bool
    link_source: str

    def length(self, text: str) -> int:
        """How long a text is in the platform's unit."""
        return len(text) if self.text_unit == "characters" else len(text.encode("utf-8", "replace"))
