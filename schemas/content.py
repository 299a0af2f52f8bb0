"""What a message can say. Used by producers, by the HTTP API and inside sealed content blocks."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, StringConstraints, Tag

NonEmptyText = Annotated[str, StringConstraints(min_length=1, strip_whitespace=False, pattern=r"\S")]
TEMPLATE_VARIABLES_MAX = 100
VARIABLE_MAX_CHARACTERS = 1024
Variable = Annotated[str, StringConstraints(max_length=VARIABLE_MAX_CHARACTERS)]


def _placeholders(value: Any) -> str | None:
    """Which kind of placeholders these are the values of."""
    if isinstance(value, dict):
        return "named"
    return "positional" if isinstance(value, list) else None


Variables = Annotated[
    Annotated[list[Variable], Field(max_length=TEMPLATE_VARIABLES_MAX), Tag("positional")]
    | Annotated[dict[Variable, Variable], Field(max_length=TEMPLATE_VARIABLES_MAX), Tag("named")],
    Discriminator(
        _placeholders,
        custom_error_type="variables_type",
        custom_error_message="is neither a list nor an object",
    ),
]


ContentKind = Literal["text", "template", "media", "buttons", "list", "read_mark"]
MediaKind = Literal["image", "video", "audio", "document"]
URL_MAX_CHARACTERS = 2_000
OPTION_ID_MAX_CHARACTERS = 200
"""Of a button's or a row's id, the tightest of the channels (WhatsApp: 200 for a row's id)."""
PROVIDER_ID_MAX_CHARACTERS = 512


class _Said(BaseModel):
    """Base of what is said in a conversation. `in_reply_to` is the provider's id of the message that is answered, personal
    data; a request names the message, the intake fills this in."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    in_reply_to: str | None = Field(
        default=None, min_length=1, max_length=PROVIDER_ID_MAX_CHARACTERS, repr=False
    )


class TextContent(_Said):
    """Free-form text; goes out only while the service window is open. The channel's limit is checked by the intake."""

    type: Literal["text"] = "text"
    text: NonEmptyText


class MediaContent(_Said):
    """A file that the provider fetches from `url`, with a caption where the channel can show one."""

    type: Literal["media"]
    kind: MediaKind
    url: Annotated[
        str,
        StringConstraints(max_length=URL_MAX_CHARACTERS, pattern=r"^https://[^\s/@]+(/[^\s]*)?$"),
    ]
    caption: NonEmptyText | None = None
    filename: Annotated[str, StringConstraints(max_length=240, pattern=r"^[^/\\\x00-\x1f]+$")] | None = None


class Button(BaseModel):
    """A button; the answer comes back as a button reply with this `id`."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    id: Annotated[str, StringConstraints(min_length=1, max_length=OPTION_ID_MAX_CHARACTERS)]
    title: NonEmptyText


class ButtonsContent(_Said):
    """Text with buttons to answer by."""

    type: Literal["buttons"]
    text: NonEmptyText
    buttons: Annotated[list[Button], Field(min_length=1, max_length=13)]


class ListRow(BaseModel):
    """One choice; the answer comes back as a list reply with this `id`."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    id: Annotated[str, StringConstraints(min_length=1, max_length=OPTION_ID_MAX_CHARACTERS)]
    title: NonEmptyText
    description: NonEmptyText | None = None


class ListSection(BaseModel):
    """Choices under a heading; the heading may be left out where there is one section only."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    title: NonEmptyText | None = None
    rows: Annotated[list[ListRow], Field(min_length=1, max_length=100)]


class ListContent(_Said):
    """Text with a list to choose from; `button` is what opens the list."""

    type: Literal["list"]
    text: NonEmptyText
    button: NonEmptyText
    sections: Annotated[list[ListSection], Field(min_length=1, max_length=10)]


class ReadMarkContent(BaseModel):
    """Show the person that a message of hers was read. `of` is the provider's id of it; the intake fills it in."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    type: Literal["read_mark"]
    of: str | None = Field(default=None, min_length=1, max_length=PROVIDER_ID_MAX_CHARACTERS, repr=False)


class TemplateContent(BaseModel):
    """A provider-approved template. `variables`: a list for positional, an object for named placeholders."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    type: Literal["template"] = "template"
    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]{1,512}$")]
    language: Annotated[str, StringConstraints(pattern=r"^[a-z]{2,3}([_-][A-Za-z0-9]{2,8})*$")]
    variables: Variables = Field(default_factory=list)


Content = Annotated[
    TextContent | TemplateContent | MediaContent | ButtonsContent | ListContent | ReadMarkContent,
    Field(discriminator="type"),
]


class TextReference(BaseModel):
    """One of Sealpost's own texts, named and not quoted; `schemas.texts` holds the words, outbound renders them."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    id: str
    version: int
    language: str
