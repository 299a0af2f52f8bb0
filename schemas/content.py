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


class TextContent(BaseModel):
    """Free-form text; goes out only while the service window is open. The channel's limit is checked by the intake."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    type: Literal["text"] = "text"
    text: NonEmptyText


class TemplateContent(BaseModel):
    """A provider-approved template. `variables`: a list for positional, an object for named placeholders."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    type: Literal["template"] = "template"
    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]{1,512}$")]
    language: Annotated[str, StringConstraints(pattern=r"^[a-z]{2,3}([_-][A-Za-z0-9]{2,8})*$")]
    variables: Variables = Field(default_factory=list)


Content = Annotated[TextContent | TemplateContent, Field(discriminator="type")]


class TextReference(BaseModel):
    """One of Sealpost's own texts, named and not quoted; `schemas.texts` holds the words, outbound renders them."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    id: str
    version: int
    language: str
