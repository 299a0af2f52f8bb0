"""Permits and outcomes a second on a vault of 100,000 people: `python -m tests.bench permits`.

Every permit is a full one (consent, window, address, content key, claim), every outcome stores a provider index and a status
of about 300 bytes. Rates only; no limit is measured beside them yet.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from random import Random
from statistics import median, quantiles

import psycopg

from schemas.clock import boot_s, month_of_ms, now_ms, today
from schemas.constants import Times
from schemas.ids import message_id, random_bytes, random_id, random_token
from streams.step.contract import Output
from tests.bench.ground import Ground, Stopwatch, ground
from tests.bench.report import Figures, Measured
from tests.vault_world import CHANNEL, Tenant, World, phone
from vault.binding import address_rows, insert_addresses
from vault.claims import Settlement
from vault.keyring import check_value, wrap
from vault.keys import key_place
from vault.permits import Permit, PermitRequest

PEOPLE = 100_000
SECONDS = 5.0
STATUS_BYTES = 300


def populate(tenant: Tenant, count: int) -> list[tuple[str, bytes]]:
    """(subject, content key) of people with everything a permit looks at, written in bulk."""
    secrets = tenant.world.vault._secrets([tenant.name])[tenant.name]
    month, now = month_of_ms(now_ms()), now_ms()
    subjects = [random_id() for _ in range(count)]
    with tenant.world.vault.transaction() as cursor:
        with cursor.copy("copy vault.subjects (subject, tenant, created_ms) from stdin") as copy:
            for subject in subjects:
                copy.write_row((subject, tenant.name, now))
        identity: dict[str, bytes] = {}
        content: dict[str, bytes] = {}
        cursor.execute("alter table vault.keys disable trigger guard_key")
        columns = "(subject, tenant, class, gen, wrapped, kcv, created_ms)"
        with cursor.copy(f"copy vault.keys {columns} from stdin") as copy:
            for subject in subjects:
                identity[subject], content[subject] = random_bytes(32), random_bytes(32)
                for kind, gen, key in (
                    ("identity", "0", identity[subject]),
                    ("content", month, content[subject]),
                ):
                    place = key_place(
                        tenant.name, subject, "identity" if kind == "identity" else "content", gen
                    )
                    wrapped = wrap(secrets.key, place, key)
                    copy.write_row((subject, tenant.name, kind, gen, wrapped, check_value(key, place), now))
        cursor.execute("alter table vault.keys enable always trigger guard_key")
        for start in range(0, count, 10_000):
            chunk = [(subject, phone()) for subject in subjects[start : start + 10_000]]
            insert_addresses(
                cursor,
                address_rows(
                    (tenant.name, secrets.address_entries(a)[0], s, a, identity[s], now) for s, a in chunk
                ),
            )
        with cursor.copy(
            "copy vault.reach (subject, tenant, account, channel, last_inbound_ms) from stdin"
        ) as copy:
            for subject in subjects:
                copy.write_row((subject, tenant.name, tenant.account, CHANNEL, now))
        permission = (
            "copy vault.permissions (subject, tenant, channel, purpose, given_ms, given_by) from stdin"
        )
        with cursor.copy(permission) as copy:
            for subject in subjects:
                copy.write_row((subject, tenant.name, CHANNEL, "newsletter", now, random_id()))
    with psycopg.connect(tenant.world.dsn, autocommit=True) as connection:
        connection.execute("vacuum analyze")
    return list(content.items())


def requests(tenant: Tenant, subjects: Sequence[str], chance: Random, batch: int) -> list[PermitRequest]:
    """A batch for different people."""
    now = now_ms()
    return [
        PermitRequest(
            tenant=tenant.name,
            subject=subject,
            message=message_id(today(), b"k", random_id(), "bench", "m"),
            part=0,
            account=tenant.account,
            channel=CHANNEL,
            purpose="newsletter",
            kind="free_form",
            requested_at_ms=now,
            expires_ms=now + 3_600_000,
            delivery="at_most_once",
            token=random_token(),
            content_gen=month_of_ms(now),
            partition=0,
        )
        for subject in chance.sample(subjects, batch)
    ]


def measure(call: Callable[[], float], enough: Callable[[], bool]) -> list[float]:
    """Run calls for a few seconds while there is enough to do; the seconds of each, which `call` returns."""
    spent: list[float] = []
    end = boot_s() + SECONDS
    while boot_s() < end and enough():
        spent.append(call())
    return spent


def at_least(waiting: Sequence[Settlement], needed: int) -> bool:
    """True while so many are left to settle."""
    return len(waiting) >= needed


def measure_all(parts: Ground, world: World, people: int, rounds: int) -> None:
    """All figures, in interleaved rounds."""
    tenant = world.tenant()
    subjects, chance = [subject for subject, _ in populate(tenant, people)], Random(1)
    status = (Output("sealpost.statuses", b"k" * 32, bytes(STATUS_BYTES)),)
    waiting: list[Settlement] = []

    def permit(batch: int) -> float:
        asked = requests(tenant, subjects, chance, batch)
        start = boot_s()
        answers = world.vault.permits(asked)
        spent = boot_s() - start
        assert all(isinstance(answer, Permit) for answer in answers)
        waiting.extend(
            Settlement(tenant.name, r.message, 0, 1, "submitted", status, random_bytes(17)) for r in asked
        )
        return spent

    def settle(batch: int) -> float:
        mine = [waiting.pop() for _ in range(batch)]
        start = boot_s()
        world.vault.settle(mine)
        return boot_s() - start

    rates = Figures("permits, 100,000 people", "messages/s", "permits, batch 500")
    waits = Figures("permits, one call", "ms", "permits, batch 500, p50")
    for _ in range(rounds):
        for batch in (500, 50):
            for name, call, needed in (("permits", permit, 0), ("outcomes", settle, batch)):
                world.caught_up()
                watch = Stopwatch(parts)
                watch.start()
                spent = measure(partial(call, batch), partial(at_least, waiting, needed))
                found = watch.events(batch * len(spent))
                rates.add(f"{name}, batch {batch}", replace(found, value=batch * len(spent) / sum(spent)))
                waits.add(f"{name}, batch {batch}, p50", Measured(median(spent) * 1000))
                waits.add(f"{name}, batch {batch}, p99", Measured(quantiles(spent, n=100)[98] * 1000))
    rates.finish()
    waits.finish()


def run(rounds: int, people: int = PEOPLE) -> None:
    """Measure on a server of its own."""
    with ground() as parts:
        world = World.make(parts.database(), Times())
        measure_all(parts, world, people, rounds)
        world.vault.close()
