"""Events of `sealpost.subscriptions`: who there is and what they are a member of."""

from typing import ClassVar, Literal

from schemas.addresses import AddressKind
from schemas.envelope import EventData

EndReason = Literal["withdrawn", "expired", "erased"]


class SubjectCreated(EventData):
    """A person acted for the first time in a tenant; nothing personal."""

    TYPE: ClassVar[str] = "sealpost.subject.created.v1"
    account: str
    entry_point: str


class AddressBound(EventData):
    """An address reaches the subject from now on. Sealed identity: `{"address", "kind"}`."""

    TYPE: ClassVar[str] = "sealpost.address.bound.v1"
    address_kind: AddressKind
    account: str


class ProfileUpdated(EventData):
    """The person's own profile changed. Sealed identity: `{"name"}`."""

    TYPE: ClassVar[str] = "sealpost.profile.updated.v1"


class SubscriptionActivated(EventData):
    """The subject is a member of a list, on the ground of the consent `basis`."""

    TYPE: ClassVar[str] = "sealpost.subscription.activated.v1"
    subscription: str
    list: str
    purpose: str
    basis: str
    account: str
    language: str
    acted_at: str


class SubscriptionEnded(EventData):
    """The membership is over."""

    TYPE: ClassVar[str] = "sealpost.subscription.ended.v1"
    subscription: str
    list: str
    purpose: str
    reason: EndReason
    acted_at: str
