"""What role `clock` does: day keys ahead, day partitions made and dropped, horizons, commands that were never produced, dead
letters counted.

One advisory lock keeps a second clock idle: it only counts the dead letters, which changes nothing.
"""

import logging
import threading
from collections.abc import Sequence
from datetime import date

import psycopg

from deploy.deadletters import WaitingLetters
from schemas.clock import DAY, boot_s, today
from schemas.errors import SealpostError
from schemas.metrics import counter
from streams.kafka.producer import OrderedProducer
from streams.kafka.written import count_written
from streams.step.contract import Output
from streams.step.postgres import connect
from streams.step.store import make_seen_days
from vault.daykeys import PublicDayKey
from vault.vault import Vault
from workers.intake.tenants import ingress_key_output

logger = logging.getLogger(__name__)

ROUND_S = 60.0
"""Between two rounds; partitions are made three days ahead, so a missed day harms nothing."""
COMMANDS_ROUND_S = 2.0
"""Between two looks for unsent commands."""
LETTERS_ROUND_S = 10.0
"""Between two counts of the dead letters; only new ones are read."""
UNPRODUCED_AFTER_S = 5.0
"""A recorded command whose outputs are not in Kafka after this is produced by us (protocols §3)."""
LOCK = 0x5EA1_C10C
"""Advisory lock of the one active clock of an installation, held in the vault database."""
PRODUCE_LIMIT_S = 30.0
DAYS_KEPT = 10
"""Seen ids of so many days stay: the horizon of 9 days and the day under way."""
DAYS_AHEAD = 5
"""Partitions from yesterday to three days ahead."""


class Housekeeper:
    """One round at a time; `ready` once the first round is through."""

    def __init__(
        self, vault: Vault, producer: OrderedProducer, dsns: tuple[str, ...], letters: WaitingLetters
    ) -> None:
        """`dsns`: every database with step tables; the first one is the vault's and holds the lock."""
        self._vault = vault
        self._producer = producer
        self._dsns = dsns
        self._letters = letters
        self._steps = counter("sealpost_optin_steps_total")
        self.ready = False

    def run(self, stop: threading.Event) -> None:
        """Keep house until stopped. A round that fails (a part is away) is logged and tried again."""
        next_round = next_count = 0.0
        while not stop.is_set():
            try:
                with connect(self._dsns[0], application_name="sealpost-clock", autocommit=True) as lock:
                    while not stop.is_set():
                        if self._holds(lock):
                            if boot_s() >= next_round:
                                self.round(today())
                                next_round = boot_s() + ROUND_S
                            self.produce_unsent()
                        self.ready = True
                        if boot_s() >= next_count:
                            self.count_dead_letters()
                            next_count = boot_s() + LETTERS_ROUND_S
                        stop.wait(COMMANDS_ROUND_S)
            except (SealpostError, psycopg.Error) as error:
                logger.warning("a round of the clock failed (%s); it is tried again", type(error).__name__)
                stop.wait(COMMANDS_ROUND_S)

    def round(self, day: date) -> None:
        """Everything that has its place once in a while."""
        self._vault.keep_house(day)
        for (tenant, kind), died in self._vault.bury_entry_tokens().items():
            self._steps.labels(kind, "expired", tenant).inc(died)
        for dsn in self._dsns:
            with connect(dsn, application_name="sealpost-clock", autocommit=True) as connection:
                make_seen_days(connection, day - DAY, DAYS_AHEAD)
                connection.execute("select step.drop_seen_partitions(%s)", (day - DAYS_KEPT * DAY,))
        self.make_day_keys(day)

    def make_day_keys(self, day: date) -> None:
        """Pairs for today and three days ahead; publishing those that exist already is harmless."""
        keys: list[PublicDayKey] = []
        for tenant, days in self._vault.day_keys_to_make(day).items():
            with self._vault.transaction() as cursor:
                keys += self._vault.create_day_keys(cursor, tenant, days)
        if keys:
            self._produce([ingress_key_output(key) for key in keys])
            # Only now: a key that was made and not published would leave the receiver without one for a day.
            self._vault.day_keys_published(keys)

    def produce_unsent(self) -> None:
        """Commands by HTTP that were recorded and not produced."""
        for command in self._vault.unproduced(UNPRODUCED_AFTER_S):
            self._produce(command.outputs)
            self._vault.mark_produced(command.tenant, command.source, command.request_id)

    def count_dead_letters(self) -> None:
        """Keep the gauge of dead letters that wait; when they cannot be read, the rest of the house is kept all the same."""
        try:
            self._letters.look()
        except SealpostError as error:
            logger.warning("the dead letters could not be counted (%s)", type(error).__name__)

    def _produce(self, outputs: Sequence[Output]) -> None:
        self._producer.produce_all(outputs, PRODUCE_LIMIT_S)
        count_written(outputs)

    @staticmethod
    def _holds(lock: "psycopg.Connection[tuple[object, ...]]") -> bool:
        row = lock.execute(
            "select exists(select 1 from pg_locks where locktype = 'advisory' and pid = pg_backend_pid() and objid = %s)"
            " or pg_try_advisory_lock(%s)",
            (LOCK, LOCK),
        ).fetchone()
        return bool(row and row[0])
