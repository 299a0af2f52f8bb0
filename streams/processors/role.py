"""Role `streams`: every processor of this release, on Faust (the default) or on the batch feed.

Several processes share the work by partitions; each processor has its own group `sealpost.<processor>`. Whatever ends one
processor ends the process: the supervisor starts it anew, and the database knows where it was.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from schemas.constants import PRODUCTION, Times
from streams.kafka.admin import ClusterIdentity
from streams.kafka.producer import OrderedProducer
from streams.processors.contract import Processor
from streams.processors.erasure import gauges as erasure_gauges
from streams.processors.erasure.certificate import Signer
from streams.processors.erasure.processor import ErasureLedger
from streams.processors.faust_feed import FaustFeeds, ProcessorFeed
from streams.processors.runner import ProcessorHandler, SettingsSource
from streams.processors.stepper import Stepper
from streams.processors.subscriber.processor import Subscriber
from streams.step.batch_feed import GROUP_PREFIX, BatchFeed
from streams.step.engine import Engine

LOG = logging.getLogger(__name__)
FEED_SETTING = "SEALPOST_PROCESSOR_FEED"
Feed = Literal["faust", "batch"]
JOIN_LIMIT_S = 30.0
"""A batch feed that does not end in this time after a stop is left behind; the process ends."""


def processors(times: Times, backup_kept_s: float) -> tuple[Processor, ...]:
    """The processors of this release. `backup_kept_s`: how long backups of the vault live, 0 when none are made."""
    return (Subscriber(times), ErasureLedger(times, backup_kept_s))


@dataclass
class StreamsRole:
    """Everything the role needs. `id_key` is vault.tenant_ids, `signer` the vault's, `settings` a
    SettingsFollower that was started and is ready."""

    bootstrap: str
    dsn: str
    settings: SettingsSource
    id_key: Callable[[str], bytes]
    signer: Signer
    data_dir: Path
    backup_kept_s: float
    feed: Feed = "faust"
    times: Times = PRODUCTION
    chosen: Sequence[Processor] | None = None
    """Other processors than those of the release, for tests."""
    _faust: FaustFeeds | None = None
    _batch: list[BatchFeed] = field(default_factory=list)

    @property
    def ready(self) -> bool:
        """True when every processor has taken over what is its own."""
        if self.feed == "faust":
            return self._faust is not None and self._faust.ready
        return bool(self._batch) and all(feed.ready for feed in self._batch)

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set; raises what ends a processor. Kafka and the database schema must be there."""
        producers: list[OrderedProducer] = []
        engines: list[Engine] = []
        chosen = self.chosen or processors(self.times, self.backup_kept_s)
        try:
            for processor in chosen:
                name = f"sealpost-{processor.name}"
                producers.append(OrderedProducer(self.bootstrap, client_id=name, give_up=stop))
                handler = ProcessorHandler(
                    processor,
                    settings=self.settings,
                    id_key=self.id_key,
                    signer=self.signer,
                    observe=erasure_gauges.observe if isinstance(processor, ErasureLedger) else None,
                )
                cluster = ClusterIdentity(self.bootstrap)
                engines.append(Engine(handler, self.dsn, producers[-1], cluster=cluster, times=self.times))
            LOG.info("role streams runs %d processors on the %s feed", len(engines), self.feed)
            if self.feed == "faust":
                self._run_on_faust(engines, chosen, stop)
            else:
                self._run_on_batches(engines, stop)
        finally:
            for engine in engines:
                engine.close()
            for producer in producers:
                producer.close()

    def _run_on_faust(
        self, engines: Sequence[Engine], chosen: Sequence[Processor], stop: threading.Event
    ) -> None:
        def make() -> list[ProcessorFeed]:
            return [
                ProcessorFeed(
                    Stepper(
                        engine,
                        self.dsn,
                        self.bootstrap,
                        group=GROUP_PREFIX + processor.name,
                        first_topics=processor.first_topics,
                    ),
                    self.bootstrap,
                    times=self.times,
                    data_dir=self.data_dir / "faust",
                )
                for engine, processor in zip(engines, chosen, strict=True)
            ]

        self._faust = FaustFeeds(make)
        self._faust.run(stop)

    def _run_on_batches(self, engines: Sequence[Engine], stop: threading.Event) -> None:
        self._batch = [BatchFeed(engine, self.bootstrap, times=self.times) for engine in engines]
        failures: list[BaseException] = []
        one_ended = threading.Event()
        both = _Either(stop, one_ended)

        def run(feed: BatchFeed) -> None:
            try:
                feed.run(both)
            except BaseException as error:  # noqa: BLE001  # raised again by the main thread, below
                failures.append(error)
            finally:
                one_ended.set()

        threads = [threading.Thread(target=run, args=(feed,), daemon=True) for feed in self._batch]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive() and not both.is_set():
                thread.join(1.0)
            thread.join(JOIN_LIMIT_S)
        if failures:
            raise failures[0]


class _Either(threading.Event):
    """Set when the role is to stop, or when one of its processors has ended."""

    def __init__(self, stop: threading.Event, ended: threading.Event) -> None:
        super().__init__()
        self._stop, self._ended = stop, ended

    def is_set(self) -> bool:
        return self._stop.is_set() or self._ended.is_set()
