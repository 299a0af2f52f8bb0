"""Events of `sealpost.deletions`: the ledger of erasure. It lies outside the vault, so that a restored vault can catch up."""

from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from schemas.envelope import EventData

Requester = Literal["person", "officer", "retention", "restore"]
"""`restore`: the keys of the subject were lost with a restore of the vault; an operator closed it."""


class PurgeReceipt(BaseModel):
    """A store's answer that it is clean of the subject."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    store: str
    purged_at: str


class Certificate(BaseModel):
    """Ed25519 signature (RFC 8032) over the canonical JSON of the other fields of SubjectErased; `signature` is base64."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    alg: Literal["Ed25519"] = "Ed25519"
    key: str
    signature: str


class ErasureRequested(EventData):
    """T0, the legal time: the subject shall be erased."""

    TYPE: ClassVar[str] = "sealpost.erasure.requested.v1"
    erasure: str
    requested_by: Requester
    t0: str


class ErasureRefused(EventData):
    """The vault knows no such subject in this tenant; nothing was done."""

    TYPE: ClassVar[str] = "sealpost.erasure.refused.v1"
    erasure: str
    reason: Literal["unknown_subject"]


class KeyDestroyed(EventData):
    """T1: the fence stands, identity and content keys are gone.

    `evidence` tells whether evidence of consent is retained under restriction. `day_keys_until` is Tr: when the last day
    key that may have sealed a raw webhook of the person dies.
    """

    TYPE: ClassVar[str] = "sealpost.key.destroyed.v1"
    erasure: str
    classes: list[str]
    evidence: Literal["retained", "destroyed"]
    t1: str
    day_keys_until: str


class StorePurged(EventData):
    """A store is clean of the subject and keeps a fence."""

    TYPE: ClassVar[str] = "sealpost.store.purged.v1"
    erasure: str
    store: str
    purged_at: str


class SubjectErased(EventData):
    """T2 has passed and every receipt is there. `tr` and `t3` are dates to come."""

    TYPE: ClassVar[str] = "sealpost.subject.erased.v1"
    erasure: str
    t0: str
    t1: str
    t2: str
    receipts: list[PurgeReceipt]
    tr: str
    t3: str
    certificate: Certificate | None = None


class ErasureIncomplete(EventData):
    """A day after T0 these stores have not answered."""

    TYPE: ClassVar[str] = "sealpost.erasure.incomplete.v1"
    erasure: str
    missing: list[str]


class ErasureSettled(EventData):
    """Tr and T3 have passed: nothing of the subject can be read anywhere, by anyone."""

    TYPE: ClassVar[str] = "sealpost.erasure.settled.v1"
    erasure: str
