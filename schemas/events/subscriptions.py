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


class AddressUnbound(EventData):
    """An address does not reach the subject any more: the provider says it is another's, or has been replaced. Sealed identity:
    `{"address", "kind"}`. No consent goes with the address to whoever has it next."""

    TYPE: ClassVar[str] = "sealpost.address.unbound.v1"
    address_kind: AddressKind
    account: str
    reason: Literal["changed"]


class ReachChanged(EventData):
    """The account does not reach the person on this channel any more (`reachable` false: she blocked it, or the provider answers
    that it cannot reach her), or does again; no consent in either."""

    TYPE: ClassVar[str] = "sealpost.reach.changed.v1"
    account: str
    reachable: bool
    acted_at: str


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
