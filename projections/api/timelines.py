"""One person's way in the order in which it happened: sign-up, consents, messages both ways, erasure. Words and ids, no content.

The sentences are made here from rows of the read models; whoever may read what was said asks for the messages.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from projections.api import models
from projections.api.answers import Answers, Gone
from projections.api.reading import Reader, Row
from projections.tables import ECHO, REACTION, STATUS_TIMES
from schemas.clock import at_ms, to_text
from schemas.events import statuses

MESSAGES_MAX = 500
"""The newest so many messages are shown; `earlier` says that there are others."""
Kind = Literal["subject", "address", "consent", "subscription", "message", "erasure"]
CONSENT_WORDS = {
    "OptInRequested": "The person asked to be signed up for {purpose}.",
    "ConsentRequested": "They were to be asked for their consent to {purpose}.",
    "ConfirmationSent": "The provider took the question about {purpose}.",
    "OptInConfirmed": "They answered yes to {purpose}.",
    "ConsentGiven": "Consent to {purpose} is given.",
    "ConsentRefused": "They answered no to {purpose}.",
    "ConsentWithdrawn": "They withdrew their consent to {purpose}.",
    "ConsentExpired": "The question about {purpose} was not answered in time.",
}
"""One for every type of event in the topic of consents; a test compares."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that happened; `name` is the id of the event, message or erasure that tells more."""

    at: datetime
    kind: Kind
    words: str
    name: str | None = None


class Timelines:
    """Answers of `GET /v1/subjects/{subject}/timeline`."""

    def __init__(self, reader: Reader, answers: Answers) -> None:
        self._reader, self._answers = reader, answers

    def of(self, tenant: str, subject: str) -> models.TimelineAnswer:
        """Refusal `not_found` when the tenant has no such subject; of an erased person only how the erasure went."""
        standing = self._answers.standing(tenant, subject)
        entries = list(self._erasures(tenant, subject))
        answer = models.TimelineAnswer(subject=subject, items=[])
        if isinstance(standing, Gone):
            answer.state = standing.state
        else:
            rows = self._reader.newest_messages(tenant, subject, MESSAGES_MAX + 1)
            if len(rows) > MESSAGES_MAX:
                answer.earlier = True
            entries += [entry for row in rows[:MESSAGES_MAX] for entry in of_message(row)]
            entries += self._of_person(tenant, subject)
        answer.items = [_item(entry) for entry in sorted(entries, key=lambda entry: entry.at)]
        return answer

    def _of_person(self, tenant: str, subject: str) -> Iterator[Entry]:
        row = self._reader.subject(tenant, subject)
        if row is not None and row["created_at"] is not None:
            yield Entry(row["created_at"], "subject", "The person wrote for the first time.")
        for one in self._reader.addresses(tenant, subject):
            words = f"An address on {one['channel']} is known to be theirs."
            if one["unbound"]:
                words = f"An address on {one['channel']} is theirs no more."
            yield Entry(one["bound_at"], "address", words, one["event"])
        for one in self._reader.blocks(tenant, subject):
            words = f"The account {one['account']} on {one['channel']} does not reach them any more."
            yield Entry(one["changed_at"], "address", words)
        yield from of_consents(self._reader.consents(tenant, subject))
        for one in self._reader.subscriptions(tenant, subject):
            if one["activated_at"] is not None:
                words = f"They are subscribed to the list {one['list']}."
                yield Entry(one["activated_at"], "subscription", words, one["subscription"])
            if one["ended_at"] is not None:
                words = f"Their subscription to the list {one['list']} ended."
                yield Entry(one["ended_at"], "subscription", words, one["subscription"])

    def _erasures(self, tenant: str, subject: str) -> Iterator[Entry]:
        for row in self._reader.erasures_of(tenant, subject):
            name, by = row["erasure"], f" by {row['requested_by']}" if row["requested_by"] else ""
            steps = (
                (row["t0"], f"Their erasure was asked for{by}."),
                (row["t1"], "Their keys were destroyed: nobody can read their data again."),
                (row["t2"], "The last lease on a key of theirs has ended."),
                (row["settled_at"], "The erasure is settled."),
            )
            yield from (Entry(at, "erasure", words, name) for at, words in steps if at is not None)
            for receipt in self._reader.receipts(tenant, name):
                words = f"The store {receipt['store']} holds no rows of theirs."
                yield Entry(receipt["purged_at"], "erasure", words, name)


def of_consents(rows: Iterable[Row]) -> Iterator[Entry]:
    """The person's acts and what came of them."""
    for row in rows:
        words = CONSENT_WORDS.get(row["type"], "{purpose}: {type}.")
        at = row["acted_at"] or row["recorded_at"]
        yield Entry(at, "consent", words.format(purpose=row["purpose"], type=row["type"]), row["event"])


def of_message(row: Row) -> Iterator[Entry]:
    """When it was written or asked for, and what became of it."""
    asked_at = row["asked_at"] or row["place_at"]
    if row["direction"] == "in":
        yield from _of_theirs(row)
        return
    if row["direction"] is None:
        yield Entry(asked_at, "message", "They reacted to a message.", row["message"])
        return
    if row["kind"] == ECHO:
        words = f"The business wrote to them over {row['channel']}, past Sealpost."
        yield Entry(asked_at, "message", words, row["message"])
        return
    words = f"A message for the purpose {row['purpose']} was asked for."
    yield Entry(asked_at, "message", words, row["message"])
    status = statuses.of_rank(row["status_rank"]) or "requested"
    if status != "requested":
        reason = f": {row['reason']}" if row["reason"] else ""
        at = row[STATUS_TIMES[status]]
        yield Entry(at or asked_at, "message", f"It is {status}{reason}.", row["message"])


def _of_theirs(row: Row) -> Iterator[Entry]:
    did = "reacted to a message" if row["kind"] == REACTION else "wrote"
    steps = (
        (row["asked_at"], f"They {did} over {row['channel']}."),
        (row["edited_at"], "They changed a message."),
        (row["revoked_at"], "They took a message back."),
    )
    yield from (Entry(at, "message", words, row["message"]) for at, words in steps if at is not None)


def _item(entry: Entry) -> models.TimelineItem:
    item = models.TimelineItem(at=to_text(at_ms(entry.at)), kind=entry.kind, words=entry.words)
    if entry.name is not None:
        item.name = entry.name
    return item
