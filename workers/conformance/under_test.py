"""What the kit must be told of a channel: the samples that only the channel's author can know."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from schemas.content import Content, ContentKind
from workers.channel import Channel, ConnectionSecrets, ProviderResponse, WebhookRequest
from workers.inbound_values import JsonObject
from workers.simulator import SimulatedAccount, Simulator

UNKNOWN_WORD = "zeppelin"
"""Stands in the sample of an unknown event, where the provider's word for the event would be."""
TOO_FAST_WAIT_S = 120.0
"""The wait that the sample `too_fast` names."""

_TOO_FAST = ProviderResponse(429, {"Retry-After": f"{TOO_FAST_WAIT_S:g}"}, b"")


@dataclass(frozen=True, slots=True)
class Secrets:
    """A connection, as a channel is shown it (`workers.channel.ConnectionSecrets`)."""

    app_secret: str = field(default="kit-app-secret-5c1f2a", repr=False)
    verify_token: str = field(default="kit-verify-token-81d0", repr=False)
    app_id: str = "kit-app-4711"

    def other(self, app_secret: str | None = None) -> "Secrets":
        """A connection of somebody else: every secret differs. `app_secret`: where secrets must have a form."""
        return replace(
            self, app_secret=app_secret or self.app_secret[::-1], verify_token=self.verify_token[::-1]
        )


@dataclass(frozen=True, slots=True)
class Greeting:
    """The provider's handshake for a connection, and what it wants to read in answer."""

    request: WebhookRequest
    answer: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelUnderTest:
    """A channel with its samples. A sample that a provider has nothing for stays None; the channel then says why by
    `skipped_cases` (`workers.channel.SkipsCases`).

    `person`: an address, as a caller of the API writes it. `sign(body, connection, at_ms)`: the request with which the provider
    posts a webhook, signed at a time where it signs one (`signs_time`). `batch`: a webhook that holds at least two facts, whose
    `provider_id`s, in order, are `batch_ids`. `unknown_event`: a webhook that holds nothing but an event the channel cannot
    know, named `UNKNOWN_WORD`. `webhooks`: further bodies, of every kind that the channel reads; the kit spoils them.
    `follow`: given a chat link, the control request by which the simulator lets a person come through it (`from` is added).

    Answers of the provider to a send: `opted_out` (this person said no by the provider's own means), `unreachable` (the account
    does not reach her any more), `message_only` (she does not get this message, and may get the next one), `unknown_code`
    (refused, for a reason that the channel's table does not have), `too_fast` (it names a wait of `TOO_FAST_WAIT_S`).

    `api_path`: where below the simulator's address the API is. `contents`: what to send of a kind, where the kit's own would not
    do. `personal`: what else in the samples is personal (names, words, numbers) and may stand nowhere in clear.
    """

    channel: Channel
    simulator: Simulator
    account: SimulatedAccount
    person: str
    sign: Callable[[bytes, ConnectionSecrets, int], WebhookRequest]
    batch: bytes
    batch_ids: tuple[str, ...]
    unknown_event: bytes
    follow: Callable[[str], JsonObject] | None = None
    handshake: Callable[[ConnectionSecrets], Greeting] | None = None
    opted_out: ProviderResponse | None = None
    unreachable: ProviderResponse | None = None
    message_only: ProviderResponse | None = None
    unknown_code: ProviderResponse | None = None
    too_fast: ProviderResponse = _TOO_FAST
    webhooks: tuple[bytes, ...] = ()
    contents: Mapping[ContentKind, Content] = field(default_factory=dict)
    personal: tuple[str, ...] = ()
    secrets: Secrets = field(default_factory=Secrets)
    other_app_secret: str | None = None
    signs_time: bool = False
    api_path: str = ""

    @property
    def answers(self) -> tuple[ProviderResponse, ...]:
        """All sample answers."""
        found = (self.opted_out, self.unreachable, self.message_only, self.unknown_code, self.too_fast)
        return tuple(one for one in found if one is not None)

    @property
    def bodies(self) -> tuple[bytes, ...]:
        """All sample webhooks."""
        return (self.batch, self.unknown_event, *self.webhooks)
