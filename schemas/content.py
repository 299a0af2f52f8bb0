"""What a message can say. Used by producers, by the HTTP API and inside sealed content blocks."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

NonEmptyText = Annotated[str, StringConstraints(min_length=1, strip_whitespace=False, pattern=r"\S")]
TEMPLATE_VARIABLES_MAX = 100
VARIABLE_MAX_CHARACTERS = 1024


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
    variables: list[str] | dict[str, str] = Field(default_factory=list, max_length=TEMPLATE_VARIABLES_MAX)


Content = Annotated[TextContent | TemplateContent, Field(discriminator="type")]


class TextReference(BaseModel):
    """One of Sealpost's own texts, named and not quoted; `schemas.texts` holds the words, outbound renders them."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    id: str
    version: int
    language: str
