"""Read models on a fresh database, and the events of one person for their tests."""

import random
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

import projections
from projections.projector import ProjectorHandler
from projections.tables import FENCE, MERGE_ORDER
from schemas.clock import to_ms, to_text
from schemas.content import TextReference
from schemas.envelope import Event, EventData, Sealed, SealedBlock
from schemas.events import consents, deletions, messages, registry, statuses, subscriptions
from schemas.ids import random_id
from streams.step.contract import Effects, Item, Output, Poison, Record
from streams.step.migrate import apply_migrations

START_MS = to_ms("2026-11-23T10:00:00Z")
CHANNEL, ACCOUNT = "whatsapp", "100000000000001"
QUESTION = TextReference(id="consent_question", version=1, language="de")
STATUS_MODELS: dict[str, type[EventData]] = {
    "submitted": statuses.MessageSubmitted,
    "sent": statuses.MessageSent,
    "delivered": statuses.MessageDelivered,
    "read": statuses.MessageRead,
    "failed": statuses.MessageFailed,
    "rejected": statuses.MessageRejected,
    "expired": statuses.MessageExpired,
    "unknown": statuses.MessageUnknown,
}
Rows = dict[str, list[tuple[Any, ...]]]


def at(second: int) -> str:
    """So many seconds after the start."""
    return to_text(START_MS + second * 1000)


def block() -> SealedBlock:
    """Something sealed; nobody here opens it."""
    return SealedBlock(
        gen="2026-11", ct="AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEy"
    )


@dataclass(frozen=True, slots=True)
class Person:
    """Makes events of one subject."""

    tenant: str
    subject: str = field(default_factory=random_id)
    erasure: str = field(default_factory=random_id)

    def event(self, data: EventData, second: int, event_id: str | None = None) -> Event:
        """An event written so many seconds after the start."""
        return registry.build(
            data,
            id=event_id or random_id(),
            role="test",
            tenant=self.tenant,
            subject=self.subject,
            at_ms=START_MS + second * 1000,
            channel=CHANNEL,
        )

    def created(self, second: int = 0) -> Event:
        """SubjectCreated."""
        return self.event(subscriptions.SubjectCreated(account=ACCOUNT, entry_point="message"), second)

    def bound(self, second: int = 0) -> Event:
        """AddressBound."""
        data = subscriptions.AddressBound(
            address_kind="phone", account=ACCOUNT, sealed=Sealed(identity=block())
        )
        return self.event(data, second)

    def named(self, second: int) -> Event:
        """ProfileUpdated."""
        return self.event(subscriptions.ProfileUpdated(sealed=Sealed(identity=block())), second)

    def wrote(self, message: str, second: int) -> Event:
        """MessageReceived."""
        data = messages.MessageReceived(
            message=message,
            account=ACCOUNT,
            kind="text",
            provider_kind="text",
            acted_at=at(second),
            sealed=Sealed(content=block()),
        )
        return self.event(data, second)

    def edited(
        self, message: str, second: int, *, made: int | None = None, event_id: str | None = None
    ) -> Event:
        """MessageEdited; `made`: the provider's time."""
        data = messages.MessageEdited(
            message=message,
            account=ACCOUNT,
            acted_at=at(second),
            provider_time=None if made is None else at(made),
            sealed=Sealed(content=block()),
        )
        return self.event(data, second, event_id)

    def revoked(self, message: str, second: int) -> Event:
        """MessageRevoked."""
        data = messages.MessageRevoked(
            message=message, account=ACCOUNT, acted_at=at(second), sealed=Sealed(content=block())
        )
        return self.event(data, second)

    def reacted(
        self, message: str | None, second: int, *, made: int | None = None, event_id: str | None = None
    ) -> Event:
        """MessageReacted, to one of hers or (None) to one of ours; `made`: the provider's time."""
        data = messages.MessageReacted(
            message=message,
            account=ACCOUNT,
            acted_at=at(second),
            provider_time=None if made is None else at(made),
            sealed=Sealed(content=block()),
        )
        return self.event(data, second, event_id)

    def echoed(self, message: str, second: int) -> Event:
        """MessageEchoed."""
        data = messages.MessageEchoed(
            message=message, account=ACCOUNT, acted_at=at(second), sealed=Sealed(content=block())
        )
        return self.event(data, second)

    def unbound(self, second: int) -> Event:
        """AddressUnbound."""
        data = subscriptions.AddressUnbound(
            address_kind="phone", account=ACCOUNT, reason="changed", sealed=Sealed(identity=block())
        )
        return self.event(data, second)

    def reach_changed(self, second: int, *, reachable: bool) -> Event:
        """ReachChanged."""
        data = subscriptions.ReachChanged(account=ACCOUNT, reachable=reachable, acted_at=at(second))
        return self.event(data, second)

    def asked(self, message: str, second: int) -> Event:
        """MessageRequested, of a text."""
        data = messages.MessageRequested(
            message=message,
            account=ACCOUNT,
            purpose="service",
            kind="text",
            delivery="at_least_once",
            expires=at(second + 3600),
            sealed=Sealed(content=block()),
        )
        return self.event(data, second)

    def status(
        self, status: str, message: str, second: int, reason: str | None = None, part: int = 0
    ) -> Event:
        """A status event by the status's name."""
        fields = {
            "message": message, "part": part, "account": ACCOUNT, "acted_at": at(second), "reason": reason,
        }  # fmt: skip
        return self.event(STATUS_MODELS[status].model_validate(fields), second)

    def given(self, second: int, purpose: str = "newsletter") -> Event:
        """ConsentGiven."""
        data = consents.ConsentGiven(
            optin=random_id(),
            purpose=purpose,
            account=ACCOUNT,
            text=QUESTION,
            notice="privacy/1/de",
            method="keyword",
            language="de",
            acted_at=at(second),
            sealed=Sealed(evidence=block()),
        )
        return self.event(data, second)

    def withdrawn(self, second: int, purpose: str = "newsletter") -> Event:
        """ConsentWithdrawn."""
        data = consents.ConsentWithdrawn(purpose=purpose, method="keyword", acted_at=at(second))
        return self.event(data, second)

    def activated(self, second: int, subscription: str) -> Event:
        """SubscriptionActivated."""
        data = subscriptions.SubscriptionActivated(
            subscription=subscription,
            list="newsletter",
            purpose="newsletter",
            basis=random_id(),
            account=ACCOUNT,
            language="de",
            acted_at=at(second),
        )
        return self.event(data, second)

    def ended(self, second: int, subscription: str) -> Event:
        """SubscriptionEnded."""
        data = subscriptions.SubscriptionEnded(
            subscription=subscription,
            list="newsletter",
            purpose="newsletter",
            reason="withdrawn",
            acted_at=at(second),
        )
        return self.event(data, second)

    def erasure_requested(self, second: int) -> Event:
        """T0."""
        data = deletions.ErasureRequested(erasure=self.erasure, requested_by="officer", t0=at(second))
        return self.event(data, second)

    def key_destroyed(self, second: int) -> Event:
        """T1."""
        data = deletions.KeyDestroyed(
            erasure=self.erasure,
            classes=["identity", "content"],
            evidence="destroyed",
            t1=at(second),
            day_keys_until=at(second + 864_000),
        )
        return self.event(data, second)

    def erased(self, second: int) -> Event:
        """SubjectErased, 3 s after T0."""
        receipt = deletions.PurgeReceipt(store="projections.v1", purged_at=at(second - 1))
        data = deletions.SubjectErased(
            erasure=self.erasure,
            t0=at(second - 3),
            t1=at(second - 2),
            t2=at(second - 1),
            receipts=[receipt],
            tr=at(second + 864_000),
            t3=at(second + 864_000),
        )
        return self.event(data, second)

    def settled(self, second: int) -> Event:
        """ErasureSettled."""
        return self.event(deletions.ErasureSettled(erasure=self.erasure), second)

    def whole_story(self) -> list[Event]:
        """A life: signed up, wrote, was answered, stopped; every kind of event but those of an erasure."""
        outgoing, subscription, changed = message_name(), random_id(), random_id()
        return [
            self.created(),
            self.bound(),
            self.named(1),
            self.wrote(message_name(), 1),
            self.given(2),
            self.activated(2, subscription),
            self.asked(outgoing, 3),
            *(
                self.status(status, outgoing, 4 + i)
                for i, status in enumerate(("submitted", "sent", "delivered"))
            ),
            self.named(8),
            self.withdrawn(9),
            self.ended(9, subscription),
            self.status("read", outgoing, 10),
            self.edited(changed, 11),
            self.wrote(changed, 11),
            self.reacted(changed, 12),
            self.edited(changed, 13),
            self.reacted(None, 13),
            self.echoed(message_name(), 14),
            self.revoked(message_name(), 14),
            self.unbound(15),
            self.reach_changed(15, reachable=False),
            self.reach_changed(16, reachable=True),
        ]


def message_name() -> str:
    """A message id of the first day."""
    return "20261123" + random_id()[:24]


@dataclass(slots=True)
class ReadModels:
    """A projections database and its handler, without Kafka: events are applied in a transaction as the engine would do."""

    dsn: str
    handler: ProjectorHandler = field(default_factory=ProjectorHandler)
    offset: int = 0

    def __post_init__(self) -> None:
        apply_migrations(self.dsn, Path(str(projections.__file__)).parent / "sql")

    @contextmanager
    def transaction(self) -> Iterator[psycopg.Cursor[Any]]:
        """One transaction."""
        with psycopg.connect(self.dsn) as connection:
            yield connection.cursor()

    def records(self, events: Iterable[Event]) -> list[Record]:
        """Events as Kafka would give them; the broker's time is the event's own."""
        found = []
        for event in events:
            self.offset += 1
            model = registry.MODELS.get(event.type)
            topic = registry.TOPIC_OF[model] if model else "sealpost.messages"
            found.append(Record(topic, 0, self.offset, event.key(), event.to_bytes(), to_ms(event.time)))
        return found

    def apply(self, *events: Event) -> list[Event]:
        """One batch; what the projector wrote, read back."""
        return self.apply_records(self.records(events))

    def one_by_one(self, events: Sequence[Event]) -> list[Event]:
        """A batch for each event."""
        return [output for event in events for output in self.apply(event)]

    def apply_records(self, records: Sequence[Record]) -> list[Event]:
        """One step over records; poison as the engine treats it."""
        effects = Effects()
        answers = self.handler.prepare(records)
        with self.transaction() as cursor:
            for answer in answers:
                if isinstance(answer, Poison):
                    self.handler.poisoned(cursor, answer, effects)
            self.handler.apply(cursor, [one for one in answers if isinstance(one, Item)], effects)
        outputs: list[Output] = [output for some in effects.outputs.values() for output in some]
        return [Event.from_bytes(output.value) for output in outputs]

    def rows(self, tenant: str) -> Rows:
        """Every row of a tenant, by table; JSON as text, so that rows compare."""
        found: Rows = {}
        with self.transaction() as cursor:
            for table in (*MERGE_ORDER, FENCE):
                columns = [
                    f"{name}::text" if kind == "json" else name for name, (kind, _) in table.columns.items()
                ]
                cursor.execute(
                    f"select {', '.join((*table.key, *columns))} from projections.{table.name}"
                    f" where tenant = %s order by {', '.join(table.key)}",
                    (tenant,),
                )
                found[table.name] = cursor.fetchall()
        return found

    def one(self, query: str, *parameters: Any) -> dict[str, Any]:
        """The one row of a query."""
        with (
            self.transaction() as cursor,
            cursor.connection.cursor(row_factory=psycopg.rows.dict_row) as rows,
        ):
            found = rows.execute(query, parameters).fetchall()
        assert len(found) == 1, found
        return found[0]


def shuffled(seed: int, events: Sequence[Event]) -> list[Event]:
    """Another order, repeatable."""
    found = list(events)
    random.Random(seed).shuffle(found)
    return found
