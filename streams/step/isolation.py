"""Finding the one input that a handler cannot handle, so that it alone becomes a dead letter."""

import logging
from collections.abc import Sequence

import psycopg

from schemas.constants import PRODUCTION, Times
from schemas.ids import is_id
from schemas.metrics import counter
from streams.kafka.producer import ProduceFailed
from streams.step.contract import Cursor, Effects, Handler, Item, Poison, Record
from streams.step.deadletter import dead_letter
from streams.step.errors import DatabaseAway, Fenced, IncarnationChanged, PositionInvalid, StopPartition
from streams.step.postgres import Connection, is_away, is_deployment

LOG = logging.getLogger(__name__)
INVALID_ID = "InvalidId"


def control_flow(error: BaseException) -> bool:
    """True for errors that say something about the process, its database or its code, not about one input."""
    if isinstance(error, Fenced | PositionInvalid | StopPartition | IncarnationChanged | ProduceFailed):
        return True
    if isinstance(error, psycopg.errors.SerializationFailure | psycopg.errors.DeadlockDetected):
        return True
    return (
        not isinstance(error, Exception)
        or isinstance(error, MemoryError)
        or is_away(error)
        or is_deployment(error)
    )


class Isolation:
    """Calls a handler so that one bad input does not stop the others."""

    def __init__(self, handler: Handler, times: Times = PRODUCTION) -> None:
        self._handler = handler
        self._times = times
        self._uncounted: list[str] = []

    def prepare(self, records: Sequence[Record]) -> list[Item | Poison]:
        """One answer a record. When the handler raises for all, it is asked for one at a time; who raises then is Poison."""
        try:
            answers = self._handler.prepare(records)
        except Exception as error:  # noqa: BLE001  # whatever a handler does to one record must not stop the others
            _raise_if_no_input_is_why(error)
            LOG.warning(
                "role %s: prepare failed (%s), records are tried apart",
                self._handler.role,
                type(error).__name__,
            )
            answers = [self._prepare_one(record) for record in records]
        if len(answers) != len(records):
            raise StopPartition(
                f"the handler of role {self._handler.role} gave {len(answers)} answers for {len(records)} records"
            )
        return _with_valid_ids(answers, records)

    def _prepare_one(self, record: Record) -> Item | Poison:
        try:
            (answer,) = self._handler.prepare([record])
        except Exception as error:  # noqa: BLE001  # whatever a handler does to one record must not stop the others
            _raise_if_no_input_is_why(error)
            return Poison(record, type(error).__name__)
        return answer

    def apply(
        self,
        connection: Connection,
        cursor: Cursor,
        answers: Sequence[Item | Poison],
        records: Sequence[Record],
        effects: Effects,
        *,
        apart: bool,
    ) -> None:
        """Apply items and dead-letter poison in order; with `apart`, an item that fails alone is poison too.

        `records` are those the answers came from, one each. Runs inside the step's transaction.
        """
        self._uncounted.clear()
        start = 0
        for place, answer in enumerate(answers):
            if isinstance(answer, Poison):
                self._apply_run(
                    connection, cursor, answers[start:place], records[start:place], effects, apart
                )
                self._bury(cursor, answer, effects)
                start = place + 1
        run = answers if start == 0 else answers[start:]
        self._apply_run(connection, cursor, run, records[start:], effects, apart)

    def _apply_run(
        self,
        connection: Connection,
        cursor: Cursor,
        items: Sequence[Item | Poison],
        records: Sequence[Record],
        effects: Effects,
        apart: bool,
    ) -> None:
        if not items:
            return
        if not apart:
            self._handler.apply(cursor, items, effects)  # type: ignore[arg-type]  # a run holds no Poison
            return
        part = Effects()
        try:
            with connection.transaction():
                self._handler.apply(cursor, items, part)  # type: ignore[arg-type]  # a run holds no Poison
        except Exception as error:
            if control_flow(error):
                raise
            if len(items) == 1:
                self._bury(cursor, Poison(records[0], type(error).__name__), effects)
                return
            middle = len(items) // 2
            self._apply_run(connection, cursor, items[:middle], records[:middle], effects, apart)
            self._apply_run(connection, cursor, items[middle:], records[middle:], effects, apart)
        else:
            for number, outputs in part.outputs.items():
                effects.outputs.setdefault(number, []).extend(outputs)
            for number, wakes in part.wakes.items():
                effects.wakes.setdefault(number, []).extend(wakes)

    def _bury(self, cursor: Cursor, poison: Poison, effects: Effects) -> None:
        record = poison.record
        role = self._handler.role
        where = f"{record.topic}/{record.partition} offset {record.offset}"
        try:
            self._handler.poisoned(cursor, poison, effects)
        except Exception as error:
            if control_flow(error):
                raise
            raise StopPartition(
                f"role {role}: {where} cannot be dead-lettered ({type(error).__name__})"
            ) from None
        letter = dead_letter(record, role, poison.reason, self._times)
        effects.emit(record.partition, letter.topic, letter.key, letter.value)
        self._uncounted.append(poison.reason)
        LOG.error("role %s: %s is dead-lettered (%s)", role, where, poison.reason)

    def committed(self) -> None:
        """Count the dead letters of the transaction that has just committed."""
        for reason in self._uncounted:
            counter("sealpost_deadletters_total").labels(self._handler.role, reason).inc()
        self._uncounted.clear()


def _raise_if_no_input_is_why(error: Exception) -> None:
    """Outside a transaction: another database that is away is the same as ours."""
    if is_away(error):
        raise DatabaseAway(f"prepare: {type(error).__name__}") from None
    if control_flow(error):
        raise error


def _with_valid_ids(answers: list[Item | Poison], records: Sequence[Record]) -> list[Item | Poison]:
    """Replace items whose id is none by Poison: one such id would fail the whole batch in the database."""
    if all(isinstance(answer, Poison) or is_id(answer.id) for answer in answers):
        return answers
    return [
        answer if isinstance(answer, Poison) or is_id(answer.id) else Poison(record, INVALID_ID)
        for answer, record in zip(answers, records, strict=True)
    ]
