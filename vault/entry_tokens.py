"""Entry tokens of forms and links: made by the intake, used by inbound in the step that handles the message (DESIGN §7)."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import orjson

from schemas.clock import MS_PER_S, now_ms
from streams.step.contract import Cursor
from vault.base import VaultBase, as_json

TokenKind = Literal["form", "api", "link"]
GONE_AFTER_MS = 9 * 86_400_000
"""A token that is over is kept at least so long, with what it was for: a message written in time may be handled late, who writes
with it late is told from who made one up, and a repetition of the message that used it (seen ids live as long) is known."""


class TokenUse(NamedTuple):
    """A message that holds a token: `act` is the message's id, `at_ms` the time of the person's act. `look_only`: the token is
    not used up by it."""

    tenant: str
    token_hash: bytes
    act: str
    at_ms: int
    look_only: bool = False


@dataclass(frozen=True, slots=True)
class UsedToken:
    """What a token was made for. `outcome`: `fresh` for the one message that may use a form's, and for every use of a link that
    lives; `used` and `expired` else."""

    kind: TokenKind
    outcome: Literal["fresh", "used", "expired"]
    facts: dict[str, Any]


class EntryTokensPart(VaultBase):
    """By which way people come."""

    def add_entry_token(
        self,
        cursor: Cursor,
        tenant: str,
        token_hash: bytes,
        kind: TokenKind,
        origin: str,
        facts: dict[str, Any],
        expires_ms: int | None,
    ) -> None:
        """Record a token in the caller's transaction. `facts`: JSON, nothing personal; `origin`: id of the form or link."""
        cursor.execute(
            """insert into vault.entry_tokens (hash, tenant, kind, origin, facts, created_ms, expires_ms)
               values (%s, %s, %s, %s, %s, %s, %s)""",
            [token_hash, tenant, kind, origin, orjson.dumps(facts).decode(), now_ms(), expires_ms],
        )

    def use_entry_tokens(self, cursor: Cursor, uses: Sequence[TokenUse]) -> list[UsedToken | None]:
        """Use tokens in the caller's transaction, one answer a use, in order; None for what is no token of the tenant. The same
        message again gets the same answer."""
        wanted = sorted({(use.token_hash, use.tenant) for use in uses})
        cursor.execute(
            """select t.hash, t.tenant, t.kind, t.facts, t.expires_ms, t.used_act
               from json_to_recordset(%s::json) as a(hash text, tenant text)
               join vault.entry_tokens t on t.hash = decode(a.hash, 'hex') and t.tenant = a.tenant
               order by t.hash, t.tenant for update of t""",
            [as_json([{"hash": token.hex(), "tenant": tenant} for token, tenant in wanted])],
        )
        rows = {(bytes(row[0]), row[1]): row[2:] for row in cursor.fetchall()}
        acts = {place: row[3].hex if row[3] else None for place, row in rows.items()}
        answers: list[UsedToken | None] = []
        for use in uses:
            place = (use.token_hash, use.tenant)
            row = rows.get(place)
            if row is None:
                answers.append(None)
                continue
            kind, facts, expires_ms, _ = row
            outcome = _outcome(expires_ms, acts[place], use)
            if kind != "link" and outcome == "fresh" and acts[place] is None and not use.look_only:
                acts[place] = use.act
                cursor.execute(
                    "update vault.entry_tokens set used_ms = %s, used_act = %s where hash = %s and tenant = %s",
                    [use.at_ms, use.act, use.token_hash, use.tenant],
                )
            answers.append(UsedToken(kind, outcome, orjson.loads(facts)))
        return answers

    def end_entry_tokens(self, cursor: Cursor, tenant: str, origin: str, at_ms: int) -> None:
        """From now on no token of a form or link opens anything."""
        cursor.execute(
            """update vault.entry_tokens set expires_ms = least(coalesce(expires_ms, %s), %s)
               where tenant = %s and origin = %s""",
            [at_ms, at_ms, tenant, origin],
        )

    def bury_entry_tokens(self) -> Counter[tuple[str, TokenKind]]:
        """Count, once, what has come to its end; delete what has been over for so long that no message that was written in time
        can be unread. (tenant, kind) → how many of forms nobody had used at their end: the opt-ins that died, of which only
        this count stays."""
        now = now_ms()
        # A fragment in the inbound topics is read as long as its day key lives, and no longer.
        kept_ms = max(GONE_AFTER_MS, round(self.times.day_key_s * MS_PER_S))
        with self.transaction() as cursor:
            cursor.execute(
                """update vault.entry_tokens set died = true where expires_ms <= %s and not died
                   returning tenant, kind, used_ms is null""",
                [now],
            )
            died = Counter(
                (tenant, kind) for tenant, kind, unused in cursor.fetchall() if unused and kind != "link"
            )
            # After the count: what ended while nobody kept house is counted too.
            cursor.execute("delete from vault.entry_tokens where expires_ms < %s", [now - kept_ms])
        return died


def _outcome(
    expires_ms: int | None, used_act: str | None, use: TokenUse
) -> Literal["fresh", "used", "expired"]:
    if used_act is not None:
        return "fresh" if used_act == use.act else "used"
    over = expires_ms is not None and use.at_ms >= expires_ms
    return "expired" if over else "fresh"
