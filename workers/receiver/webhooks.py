"""What becomes of a webhook: proved, split, sealed, durable; every answer is a promise (law L4).

2xx: it is in Kafka, or it belongs to nobody who has a data-processing agreement. 5xx: it is not stored, send it again.
"""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date

from schemas import clock
from schemas.constants import Times
from schemas.errors import SealpostError
from schemas.settings import TenantSettings
from schemas.topics import DEADLETTERS
from streams.kafka.producer import AsyncProducer, ProduceFailed
from streams.kafka.settings_follower import SettingsFollower
from streams.kafka.written import count_written
from streams.step.contract import Output
from vault.connections import Connection
from vault.ingress import DaySealers
from workers.channel import (
    Accepted,
    Authenticity,
    Channel,
    Denied,
    Fragment,
    Handshake,
    UnparseableBody,
    WebhookRequest,
)
from workers.receiver import records
from workers.receiver.coalesced import Coalesced
from workers.receiver.connections import ConnectionBook
from workers.receiver.counts import Counts
from workers.receiver.day_keys import DayKeyFollower
from workers.receiver.limits import ReceiverLimits
from workers.receiver.sources import Forgeries

log = logging.getLogger(__name__)

LOOK_SHARE = 0.8
"""Longest wait for settings or day keys to be read to their end, as a share of the time there is for the answer."""
SETTINGS_PAUSE_S = 0.02
"""Between two looks for the end of the settings topic: tenants without an agreement must not flood Kafka with questions."""
KEYS_PAUSE_S = 0.5
"""The same for day keys: a tenant without one must not either."""
CONNECTIONS_PAUSE_S = 1.0
"""Between two looks into the vault for connections that requests name: strangers can ask for any."""
WAITERS_MAX = 200
"""Requests that wait for one look; for more of them no look is made, as if it had failed."""
NO_ACCOUNT = "?"
"""Stands for the account of a connection that has none yet; no provider calls one so."""
SEALS_A_TURN = 32
"""Fragments sealed before other requests get their turn: a body may hold thousands."""
_NO_FORGERY = frozenset(("method", "replayed"))
"""Refusals that do not put the proof in doubt."""


class NotStored(SealpostError):
    """The webhook could not be made durable; it is answered 503 and the provider sends it again. Look at Kafka, at role
    `clock` (day keys) and, for connections made a moment ago, at the vault database."""


@dataclass(frozen=True, slots=True)
class Answer:
    """HTTP status and, for handshakes, a text."""

    status: int
    body: bytes = field(default=b"", repr=False)


OK = Answer(200)
AWAY = Answer(503)


class Webhooks:
    """Takes webhooks of all connections. For one event loop."""

    def __init__(
        self,
        book: ConnectionBook,
        settings: SettingsFollower,
        keys: DayKeyFollower,
        producer: AsyncProducer,
        counts: Counts,
        times: Times,
        *,
        forgeries: Forgeries,
        limits: ReceiverLimits,
    ) -> None:
        self._book = book
        self._settings = settings
        self._keys = keys
        self._producer = producer
        self._counts = counts
        self._times = times
        self._forgeries = forgeries
        self._limits = limits
        self._look_s = look_s = limits.answer_s * LOOK_SHARE
        self._sealers = DaySealers()
        look = {"waiters_max": WAITERS_MAX}
        self._look_for_settings = Coalesced(
            lambda: settings.refresh(look_s), pause_s=SETTINGS_PAUSE_S, **look
        )
        self._look_for_keys = Coalesced(lambda: keys.refresh(look_s), pause_s=KEYS_PAUSE_S, **look)
        self._look_for_connections = Coalesced(book.refresh, pause_s=CONNECTIONS_PAUSE_S, **look)

    async def find(self, channel: str, connection: str) -> Connection | None:
        """The connection a path names, None when there is none; NotStored while nobody can say."""
        found = self._book.get(connection)
        if found is None:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._look_s):
                    await self._look_for_connections.fresh()
            found = self._book.get(connection)
        if found is None and self._book.undecided(connection):
            raise NotStored("the connection is not known yet, or its secrets do not open")
        return found if found is not None and found.channel == channel else None

    async def take(
        self, channel: Channel, connection: Connection, request: WebhookRequest, source: bytes
    ) -> Answer:
        """Answer one request whose connection is known. `source`: what `Forgeries` knows its sender by. Raises nothing but what
        is a fault of this program."""
        verdict = prove(channel, connection, request, clock.now_ms())
        if isinstance(verdict, Denied):
            return self._deny(connection.channel, verdict, source)
        self._forgeries.proved(source)
        if isinstance(verdict, Handshake):
            return Answer(200, verdict.body)
        untimely = self._untimely(verdict)
        if untimely is not None:
            self._counts.refused(connection.channel, untimely)
            return Answer(403)
        if not request.body:
            # It says nothing: `sealpost connections test` asks so whether a proof is taken.
            return OK
        self._counts.authentic(connection.connection)
        began_s = clock.boot_s()
        try:
            async with asyncio.timeout(self._limits.answer_s):
                stored = await self._store(channel, connection, request.body)
        except (NotStored, ProduceFailed, TimeoutError) as error:
            log.warning("a webhook was not stored: %s", type(error).__name__)
            return AWAY
        if stored:
            self._counts.stored(clock.boot_s() - began_s)
        return OK

    def _deny(self, channel: str, denied: Denied, source: bytes) -> Answer:
        self._counts.refused(channel, denied.why)
        if denied.why not in _NO_FORGERY:
            self._forgeries.forged(source)
            if denied.why != "handshake":
                self._counts.forged(channel)
        return Answer(denied.status)

    def _untimely(self, accepted: Accepted) -> str | None:
        if accepted.signed_at_ms is None:
            return None
        age_s = (clock.now_ms() - accepted.signed_at_ms) / clock.MS_PER_S
        return untimely(age_s, self._limits.replay_s, self._times.clock_skew_s)

    async def _store(self, channel: Channel, connection: Connection, body: bytes) -> bool:
        """Make durable what belongs to somebody; False when nothing does."""
        try:
            fragments: Sequence[Fragment] | None = channel.split(body)
        except UnparseableBody:
            fragments = None
        if await self._agreement(connection.tenant) is None:
            self._counts.dropped(connection.channel, "no_dpa", len(fragments) if fragments is not None else 1)
            return False
        if fragments is None:
            key, now_ms = await self._day_key(connection.tenant)
            letter = records.dead_letter_body(
                connection, body, key, reason=UnparseableBody.__name__, now_ms=now_ms, times=self._times
            )
            await self._produce([letter], UnparseableBody.__name__)
            return True
        connection, known = await self._known_accounts(channel, connection, fragments)
        if known:
            await self._produce(await self._seal(connection, known), records.TOO_LARGE)
        return bool(known)

    async def _agreement(self, tenant: str) -> TenantSettings | None:
        """The tenant's settings if it has a data-processing agreement; looked up afresh before anything is dropped."""
        found = self._settings.tenant(tenant)
        if found is None or not found.dpa:
            if not await self._look_for_settings.fresh():
                raise NotStored("settings cannot be read")
            found = self._settings.tenant(tenant)
        return found if found is not None and found.dpa else None

    async def _known_accounts(
        self, channel: Channel, connection: Connection, given: Sequence[Fragment]
    ) -> tuple[Connection, list[Fragment]]:
        """The fragments of accounts that are ours. The settings tell whether there are approved accounts on this connection
        that the vault has not told us of; only then may an unknown one be ours."""
        fragments = addressed(channel, connection, given)
        if not _foreign(connection, fragments):
            return connection, fragments
        if not await self._look_for_settings.fresh():
            raise NotStored("settings cannot be read")
        if self._is_behind(connection):
            await self._look_for_connections.fresh()
            connection = self._book.get(connection.connection) or connection
            fragments = addressed(channel, connection, given)
            if _foreign(connection, fragments) and self._is_behind(connection):
                raise NotStored("an approved account is not known yet")
        foreign = _foreign(connection, fragments)
        if foreign:
            self._counts.dropped(connection.channel, "unknown_account", foreign)
        return connection, [f for f in fragments if not f.account_ref or f.account_ref in connection.accounts]

    def _is_behind(self, connection: Connection) -> bool:
        settings = self._settings.tenant(connection.tenant)
        approved = settings.accounts.values() if settings is not None else ()
        known = set(connection.accounts.values())
        return any(a.connection == connection.connection and a.account not in known for a in approved)

    async def _day_key(self, tenant: str) -> tuple[records.DayKey, int]:
        """What to seal with today, and the time (milliseconds) whose day it is."""
        now_ms = clock.now_ms()
        day: date = clock.day_of_ms(now_ms)
        public = self._keys.public(tenant, day.isoformat())
        if public is None:
            await self._look_for_keys.fresh()
            public = self._keys.public(tenant, day.isoformat())
        if public is None:
            raise NotStored("no day key is published for today")
        return records.DayKey(day, self._sealers.of(public)), now_ms

    async def _seal(self, connection: Connection, fragments: Sequence[Fragment]) -> list[Output]:
        key, now_ms = await self._day_key(connection.tenant)
        outputs: list[Output] = []
        for output in records.seal_fragments(connection, fragments, key, now_ms=now_ms, times=self._times):
            outputs.append(output)
            if len(outputs) % SEALS_A_TURN == 0:
                await asyncio.sleep(0)
        return outputs

    async def _produce(self, outputs: Sequence[Output], reason: str) -> None:
        await self._producer.send_all(outputs)
        count_written(outputs)
        for output in outputs:
            if output.topic == DEADLETTERS:
                self._counts.dead_letter(records.ROLE, reason)


def prove(channel: Channel, connection: Connection, request: WebhookRequest, now_ms: int) -> Authenticity:
    """What the channel says of a request; while a secret is being replaced, also with the secret before."""
    verdict = channel.authenticate(request, connection)
    if isinstance(verdict, Denied) and verdict.why == "mismatch":
        before = connection.before_rotation(now_ms)
        if before is not None:
            return channel.authenticate(request, before)
    return verdict


def untimely(age_s: float, replay_s: float, skew_s: float) -> str | None:
    """Why a request that was signed so long ago (negative: so far in the future) is refused; None when it is in time."""
    if age_s > replay_s:
        return "replayed"
    return "ahead" if age_s < -skew_s else None


def addressed(channel: Channel, connection: Connection, fragments: Sequence[Fragment]) -> list[Fragment]:
    """The fragments with the account they are for: where webhooks name none, it is the connection's only one. So is what a person
    did where the provider leaves the account out; news about the whole connection stay without one."""
    if channel.capabilities.names_account:
        if len(connection.accounts) != 1:
            return list(fragments)
        (only,) = connection.accounts
        return [
            replace(one, account_ref=only) if one.sender_ref and not one.account_ref else one
            for one in fragments
        ]
    if len(connection.accounts) > 1:
        raise NotStored("several accounts on a connection whose webhooks name none")
    only = next(iter(connection.accounts), NO_ACCOUNT)
    return [replace(fragment, account_ref=only) for fragment in fragments]


def _foreign(connection: Connection, fragments: Sequence[Fragment]) -> int:
    return sum(1 for f in fragments if f.account_ref and f.account_ref not in connection.accounts)
