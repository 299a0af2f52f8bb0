"""Data keys: random AES-256, wrapped by the tenant's key, made only while the subject is held (protocols §6).

Opening goes through a lease cache; sealing never does: a key to seal with is read in the transaction that holds the subject.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from schemas import metrics
from schemas.clock import now_ms
from schemas.envelope import KeyClass, SealedBlock
from schemas.ids import is_id, random_bytes
from streams.step.contract import Cursor
from vault.base import TenantSecrets, VaultBase, as_json
from vault.errors import KeyRefused, NotActive
from vault.keyring import check_value, unwrap_checked, wrap
from vault.leases import LeaseCache
from vault.outcomes import Corrupt, Erased, Opened, Plain
from vault.sealing import KEY_BYTES, open_block

LOG = logging.getLogger(__name__)


class KeyNeed(NamedTuple):
    """A key to seal with. `gen`: `0` for identity, `YYYY-MM` (UTC month of the event's time) for content, a fresh id for
    evidence (`schemas.ids.random_id`, or derived)."""

    tenant: str
    subject: str
    key_class: KeyClass
    gen: str


class BlockToOpen(NamedTuple):
    """A sealed block with the identity of the event that carries it."""

    tenant: str
    subject: str
    event_id: str
    event_type: str
    key_class: KeyClass
    block: SealedBlock


class _KeyRow(NamedTuple):
    """One answer of vault.keys_of: `state` None without a subject; `found` False without a key row."""

    state: str | None
    found: bool
    wrapped: bytes | None
    kcv: bytes | None
    retained: bool

    def gone(self) -> Erased | None:
        """Erased when a fence or a destroyed generation says so."""
        if self.state == "lost":
            return Erased(lost=True)
        if self.state == "erased" or (self.found and self.wrapped is None):
            return Erased()
        return None


def key_place(tenant: str, subject: str, key_class: KeyClass, gen: str) -> tuple[str, ...]:
    """What a wrapped data key is bound to."""
    return ("data key", tenant, subject, key_class, gen)


class KeysPart(VaultBase):
    """Sealing and opening."""

    def _start_parts(self) -> None:
        super()._start_parts()
        self._keys_cache: LeaseCache[KeyNeed, bytes | Erased | Corrupt] = LeaseCache(
            # What is corrupt may be repaired by an operator at any moment.
            self.times.lease_s,
            keep=lambda key: not isinstance(key, Corrupt),
        )
        opened = metrics.counter("sealpost_opens_total")
        words: dict[type[Opened], str] = {Plain: "plain", Erased: "erased", Corrupt: "corrupt"}
        self._opened = {kind: opened.labels(word) for kind, word in words.items()}
        self._lease_seconds = metrics.histogram("sealpost_lease_seconds")

    def sealing_keys(self, cursor: Cursor, needs: Sequence[KeyNeed]) -> dict[KeyNeed, bytes | Erased]:
        """Keys to seal with, made where missing; the subjects are held FOR SHARE until the caller's transaction ends.
        `Erased`: the subject is erased or the generation destroyed; drop the event and count it. NotActive when a subject
        does not exist. The keys must not outlive the transaction."""
        wanted = list(dict.fromkeys(needs))
        if not wanted:
            return {}
        if not all(is_id(need.subject) for need in wanted):
            raise NotActive("a key was asked for what is no subject")
        secrets = self._secrets({need.tenant for need in wanted}, cursor)
        rows = _read_rows(cursor, wanted)
        if any(rows[need].state is None for need in wanted):
            raise NotActive("a key was asked for a subject that does not exist")
        missing = [need for need in wanted if not rows[need].found and rows[need].gone() is None]
        made = _make_keys(cursor, missing, secrets)
        lost_race = [need for need in missing if need not in made]
        rows |= _read_rows(cursor, lost_race) if lost_race else {}
        keys: dict[KeyNeed, bytes | Erased] = {}
        for need in wanted:
            keys[need] = (
                made.get(need) or rows[need].gone() or _unwrap(need, rows[need], secrets[need.tenant])
            )
        return keys

    def open_blocks(self, blocks: Sequence[BlockToOpen], *, legal: bool = False) -> list[Opened]:
        """Open blocks through the lease cache, one answer a block, in order. `legal` also opens evidence that is retained
        after an erasure; it bypasses the cache."""
        needs = [KeyNeed(b.tenant, b.subject, b.key_class, b.block.gen) for b in blocks]
        askable = {need for need in needs if is_id(need.subject)}
        keys = (
            self._fetch_keys(list(askable), legal=True)
            if legal
            else self._keys_cache.get_many(askable, self._lease_keys)
        )
        answers = [_open(block, keys.get(need)) for block, need in zip(blocks, needs, strict=True)]
        for kind, count in Counter(map(type, answers)).items():
            self._opened[kind].inc(count)
            if kind is Corrupt:
                LOG.error("%d sealed blocks are corrupt", count)
        return answers

    def forget_leases(self, tenant: str, subject: str) -> None:
        """Drop leases on a subject's keys before their deadline: KeyDestroyed was seen."""
        self._keys_cache.forget_where(lambda need: need.subject == subject and need.tenant == tenant)

    def _lease_keys(self, needs: list[KeyNeed]) -> dict[KeyNeed, bytes | Erased | Corrupt]:
        with self._lease_seconds.time():
            return self._fetch_keys(needs, legal=False)

    def _fetch_keys(self, needs: list[KeyNeed], *, legal: bool) -> dict[KeyNeed, bytes | Erased | Corrupt]:
        if not needs:
            return {}
        with self._lease_statement() as cursor:
            rows = _read_rows(cursor, needs)
        known = self._known_secrets({need.tenant for need in needs})
        found: dict[KeyNeed, bytes | Erased | Corrupt] = {}
        for need, row in rows.items():
            gone = row.gone()
            kept_for_legal = legal and row.retained and row.wrapped is not None
            if gone is not None and not kept_for_legal:
                found[need] = gone
            elif need.tenant not in known:
                LOG.error("a block names a tenant without keys")
                found[need] = Corrupt("tenant")
            elif row.wrapped is None:
                found[need] = Corrupt("missing")
            else:
                try:
                    found[need] = _unwrap(need, row, known[need.tenant])
                except KeyRefused:
                    found[need] = Corrupt("exchanged")
        return found


def _open(block: BlockToOpen, key: bytes | Erased | Corrupt | None) -> Opened:
    if key is None:
        return Corrupt("missing")
    if not isinstance(key, bytes):
        return key
    return open_block(key, block, block.block)


def _unwrap(need: KeyNeed, row: _KeyRow, secrets: TenantSecrets) -> bytes:
    place = key_place(need.tenant, need.subject, need.key_class, need.gen)
    return unwrap_checked(secrets.key, place, row.wrapped or b"", row.kcv or b"")


def _as_rows(needs: Iterable[KeyNeed]) -> list[dict[str, Any]]:
    return [
        {"n": n, "subject": need.subject, "tenant": need.tenant, "class": need.key_class, "gen": need.gen}
        for n, need in enumerate(needs)
    ]


def _read_rows(cursor: Cursor, needs: Sequence[KeyNeed]) -> dict[KeyNeed, _KeyRow]:
    """Key rows with the subjects held FOR SHARE, in one round trip."""
    cursor.execute(
        "select n, state, found, wrapped, kcv, retained from vault.keys_of(%s::json)",
        [as_json(_as_rows(needs))],
    )
    return {
        needs[n]: _KeyRow(state, found, wrapped, kcv, retained)
        for n, state, found, wrapped, kcv, retained in cursor
    }


def _make_keys(
    cursor: Cursor, needs: list[KeyNeed], secrets: dict[str, TenantSecrets]
) -> dict[KeyNeed, bytes]:
    """Insert fresh keys in key order; those that another transaction made first are not in the answer."""
    if not needs:
        return {}
    ordered = sorted(needs, key=lambda need: (need.subject, need.tenant, need.key_class, need.gen))
    keys = {need: random_bytes(KEY_BYTES) for need in ordered}
    rows = _as_rows(ordered)
    for row, (need, key) in zip(rows, keys.items(), strict=True):
        place = key_place(need.tenant, need.subject, need.key_class, need.gen)
        row |= {
            "wrapped": wrap(secrets[need.tenant].key, place, key).hex(),
            "kcv": check_value(key, place).hex(),
            "at": now_ms(),
        }
    cursor.execute(
        """insert into vault.keys (subject, tenant, class, gen, wrapped, kcv, created_ms)
           select subject, tenant, class, gen, decode(wrapped, 'hex'), decode(kcv, 'hex'), at
           from json_to_recordset(%s::json) as a(
               subject uuid, tenant text, class text, gen text, wrapped text, kcv text, at bigint)
           on conflict do nothing returning subject, tenant, class, gen""",
        [as_json(rows)],
    )
    return {
        (need := KeyNeed(tenant, subject.hex, key_class, gen)): keys[need]
        for subject, tenant, key_class, gen in cursor
    }
