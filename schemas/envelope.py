"""The envelope: CloudEvents 1.0, structured JSON (https://github.com/cloudevents/spec, v1.0.2).

Everything outside `data.sealed` is clear for ever and comes from an allow-list (docs/privacy/what-remains.md).
"""

from typing import Any, Literal, Self

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from schemas.clock import to_ms
from schemas.errors import SealpostError

SOURCE_PREFIX = "sealpost/"
ALGORITHM: Literal["A256GCM"] = "A256GCM"
KeyClass = Literal["identity", "content", "evidence"]
ID_PATTERN = r"^[0-9a-f]{32}$"


class InvalidEvent(SealpostError):
    """A record is not a valid Sealpost event; it is dead-lettered. Look it up with `sealpost deadletters list`."""


class SealedBlock(BaseModel):
    """Ciphertext of all personal fields of one key class of one event.

    `ct` is base64 of nonce (12 bytes), ciphertext and tag (16 bytes). `gen` names the key generation: `0` for identity,
    `YYYY-MM` for content, an id for evidence. A block that another event sealed carries that event's id and type in
    `sealed_in` and `type`: it opens only with the identity it was sealed for.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    gen: str
    alg: Literal["A256GCM"] = ALGORITHM
    ct: str
    sealed_in: str | None = None
    type: str | None = None

    def fields(self) -> dict[str, str]:
        """What of it stands in an event."""
        return {name: value for name, value in self.__dict__.items() if value is not None}


class Sealed(BaseModel):
    """The sealed blocks of one event, at most one a key class."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    identity: SealedBlock | None = None
    content: SealedBlock | None = None
    evidence: SealedBlock | None = None


class EventData(BaseModel):
    """Base of the data of every event type. Subclasses declare clear fields only; what is personal goes into `sealed`."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    sealed: Sealed | None = None


class Event(BaseModel):
    """One immutable event as it stands in a topic; the record key is `subject` (of tenant events: the tenant)."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    specversion: Literal["1.0"] = "1.0"
    id: str = Field(pattern=ID_PATTERN)
    source: str
    type: str
    subject: str
    time: str
    datacontenttype: Literal["application/json"] = "application/json"
    tenant: str
    channel: str | None = None
    causationid: str | None = None
    correlationid: str | None = None
    data: dict[str, Any]

    def to_bytes(self) -> bytes:
        """The JSON that goes into the record value."""
        return orjson.dumps(self.model_dump(exclude_none=True))

    @classmethod
    def from_bytes(cls, value: bytes | None) -> Self:
        """Parse a record value; InvalidEvent (without the value) when it is none."""
        try:
            return cls.model_validate(orjson.loads(value or b""))
        except (orjson.JSONDecodeError, ValidationError) as error:
            raise InvalidEvent(f"not a CloudEvents envelope ({type(error).__name__})") from None

    def key(self) -> bytes:
        """The record key."""
        return self.subject.encode()

    def at_ms(self) -> int:
        """`time` in milliseconds; InvalidEvent when it is none."""
        try:
            return to_ms(self.time)
        except ValueError:
            raise InvalidEvent("the event's time is none") from None

    def block(self, key_class: KeyClass) -> SealedBlock | None:
        """The sealed block of a key class, or None; InvalidEvent when it is malformed."""
        sealed = self.data.get("sealed") or {}
        if not isinstance(sealed, dict):
            raise InvalidEvent("the sealed blocks are malformed")
        raw = sealed.get(key_class)
        if raw is None:
            return None
        try:
            return SealedBlock.model_validate(raw)
        except ValidationError:
            raise InvalidEvent("a sealed block is malformed") from None
