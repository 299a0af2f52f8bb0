"""What holds in every case of the kit without being asked for: nothing secret or personal leaves a channel in clear, and no call
leaves the machine.

A `Watch` collects all that is in clear (log lines, output, metric labels, routing fields, reprs, error texts) while a case runs,
and `findings` says what stands in it that must not. Findings name what was found and where, never the value.
"""

import logging
import socket
from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_address
from typing import Any, TypeVar
from urllib.parse import urlsplit

from prometheus_client import REGISTRY

from schemas.addresses import Address
from schemas.content import Content
from schemas.errors import SealpostError
from workers.channel import (
    AccountAccess,
    Authenticity,
    Capabilities,
    Channel,
    Classified,
    ConnectionSecrets,
    DeliverySteps,
    Fragment,
    Processing,
    ProviderRequest,
    ProviderResponse,
    WebhookRequest,
)
from workers.inbound_values import Inbound, JsonObject

Given = TypeVar("Given")
SHORTEST_MARK = 4
"""Anything shorter is found by chance."""


class LeftTheMachine(SealpostError):
    """A channel or a simulator wanted to call another machine; in a test it may call this one alone."""


class Watch(logging.Handler):
    """One case."""

    def __init__(self, secret: Mapping[str, str]) -> None:
        """`secret`: what may stand nowhere in clear, by what it is."""
        super().__init__(logging.NOTSET)
        self._secret = {name: value for name, value in secret.items() if len(value) >= SHORTEST_MARK}
        self._clear: list[tuple[str, str]] = []
        self.broken: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """A log line, as it is written, with its traceback."""
        self.note("a log line", self.format(record))

    def note(self, where: str, text: str) -> None:
        """Something stands in clear."""
        self._clear.append((where, text))

    def findings(self) -> list[str]:
        """What was not as it must be, sorted; [] for a clean case."""
        for label in _labels():
            self.note("a metric label", label)
        found = {
            f"{name} stands in {where}"
            for where, text in self._clear
            for name, value in self._secret.items()
            if value in text
        }
        return sorted(found | set(self.broken))

    # ---- calls

    def guard(self, replace: Callable[[object, str, object], None]) -> None:
        """From now on no socket reaches beyond this machine; `replace` is pytest's `monkeypatch.setattr`."""
        for name in ("connect", "connect_ex"):
            replace(socket.socket, name, self._only_here(getattr(socket.socket, name)))

    def request(self, request: ProviderRequest) -> None:
        """A call that a channel asks for; LeftTheMachine when it is for another machine."""
        self.note("the repr of a request", repr(request))
        if not _is_here(urlsplit(request.url).hostname or ""):
            self.broken.append("deliver() calls another address than the account's")
            raise LeftTheMachine("a channel calls another machine")
        if request.courtesy is not None:
            self.request(request.courtesy)

    def _only_here(self, call: Callable[[socket.socket, Any], Any]) -> Callable[[socket.socket, Any], Any]:
        def guarded(one: socket.socket, address: Any) -> Any:
            if one.family in (socket.AF_INET, socket.AF_INET6) and not _is_here(str(address[0])):
                self.broken.append("a call left the machine")
                raise LeftTheMachine("a socket was to reach another machine")
            return call(one, address)

        return guarded


class WatchedChannel:
    """A channel that is looked at from all sides: what it gives is noted as far as it would stand in clear.

    `spoiled`: what it is given is made up, so that a name may stand where our account's id should. Then only errors count.
    """

    def __init__(self, channel: Channel, watch: Watch, *, spoiled: bool = False) -> None:
        self._channel, self._watch, self._spoiled = channel, watch, spoiled

    @property
    def name(self) -> str:
        """The channel's."""
        return self._channel.name

    @property
    def capabilities(self) -> Capabilities:
        """The channel's."""
        return self._channel.capabilities

    @property
    def processing(self) -> Sequence[Processing]:
        """The channel's."""
        return self._channel.processing

    def read_address(self, text: str) -> Address | None:
        """The channel's."""
        return self._channel.read_address(text)

    def authenticate(self, request: WebhookRequest, connection: ConnectionSecrets) -> Authenticity:
        """The channel's verdict."""
        return self._seen("verdict", self._channel.authenticate(request, connection))

    def split(self, body: bytes) -> list[Fragment]:
        """The channel's fragments; where they are routed by stands in clear."""
        for fragment in (fragments := self._checked(lambda: self._channel.split(body))):
            self._seen("Fragment", fragment)
        return fragments

    def parse(self, raw: JsonObject) -> list[Inbound]:
        """The channel's values."""
        for value in (values := self._checked(lambda: self._channel.parse(raw))):
            self._seen(type(value).__name__, value)
        return values

    def deliver(self, content: Content, address: Address, account: AccountAccess, echo: str) -> DeliverySteps:
        """The channel's calls, none of which may leave the machine."""
        steps = self._checked(lambda: self._channel.deliver(content, address, account, echo))
        try:
            request = self._checked(lambda: next(steps))
            while True:
                self._watch.request(request)
                request = steps.send((yield request))
        except StopIteration as end:
            self._seen("outcome", end.value)
            return end.value  # type: ignore[no-any-return]  # what a generator returns has no type here
        finally:
            steps.close()

    def classify(self, response: ProviderResponse) -> Classified:
        """The channel's class."""
        return self._seen("Classified", self._channel.classify(response))

    def describe(self, raw: JsonObject) -> list[JsonObject]:
        """The channel's facts."""
        return self._channel.describe(raw)

    def chat_link(self, account_number: str, token: str, words: str = "") -> str:
        """The channel's link."""
        return self._checked(lambda: self._channel.chat_link(account_number, token, words))

    def _seen(self, what: str, value: Given) -> Given:
        """Its repr shows what is routed by, and what may be a label, as it is."""
        if not self._spoiled:
            self._watch.note(f"the repr of a {what}", repr(value))
        return value

    def _checked(self, ask: Callable[[], Given]) -> Given:
        try:
            return ask()
        except SealpostError as error:
            self._watch.note("an error's text", str(error))
            raise


def _labels() -> list[str]:
    return [
        value
        for family in REGISTRY.collect()
        for sample in family.samples
        for value in sample.labels.values()
    ]


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
