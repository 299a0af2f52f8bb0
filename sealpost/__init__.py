"""The public names of Sealpost; SemVer holds for them.

Producers use the content types; channel plug-ins implement the channel contract and register under the entry-point group
`sealpost.channels`.
"""

from schemas.content import Content, TemplateContent, TextContent
from schemas.envelope import Event, SealedBlock
from schemas.errors import SealpostError
from workers.channel import Capabilities, Channel, Failed, Processing, Submitted, Unclear

__all__ = [
    "Capabilities",
    "Channel",
    "Content",
    "Event",
    "Failed",
    "Processing",
    "SealedBlock",
    "SealpostError",
    "Submitted",
    "TemplateContent",
    "TextContent",
    "Unclear",
]
