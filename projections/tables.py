"""The tables of the read models, each with the rule by which every column is folded.

One definition serves twice: in memory, where the rows of a batch are folded per key (one INSERT must not touch a key
twice), and in SQL, where the folded rows meet those that are stored. Every rule is idempotent, and commutative for the
events that different topics hold, so neither repetition nor the order of topics shows in a row.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from schemas.events.statuses import Status
from streams.step.contract import Cursor

Row = dict[str, Any]
Key = tuple[str, ...]
SqlType = Literal["text", "timestamptz", "smallint", "integer", "bigint", "boolean", "json"]


@dataclass(frozen=True, slots=True)
class Rule:
    """How a stored value and a new one become one: `takes_new(stored row, new row, column)` and the same in SQL,
    with `m` the stored row, `excluded` the new one and `{c}` the column."""

    takes_new: Callable[[Row, Row, str], bool]
    sql: str


def _is_absent(stored: Row, _new: Row, column: str) -> bool:
    return stored.get(column) is None


def _is_smaller(stored: Row, new: Row, column: str) -> bool:
    return stored.get(column) is None or new[column] < stored[column]


def _is_larger(stored: Row, new: Row, column: str) -> bool:
    return stored.get(column) is None or new[column] > stored[column]


def _is_content_of_the_request(stored: Row, new: Row, _column: str) -> bool:
    return new.get("content") is not None and (
        stored.get("content") is None or new.get("asked_at") is not None
    )


FIRST = Rule(_is_absent, "coalesce(m.{c}, excluded.{c})")
LEAST = Rule(_is_smaller, "least(m.{c}, excluded.{c})")
GREATEST = Rule(_is_larger, "greatest(m.{c}, excluded.{c})")
REQUESTED_CONTENT = Rule(
    _is_content_of_the_request,
    "case when excluded.content is not null and (m.content is null or excluded.asked_at is not null)"
    " then excluded.{c} else m.{c} end",
)
"""The three content columns move together; a status may bring a copy of the content, the request's own wins."""


def along(leader: str, *, equal: bool = False) -> Rule:
    """Take the column of the row whose `leader` column is larger. When they are equal the stored one; with `equal` the new one,
    which is the later one where all come from one topic."""

    def takes_new(stored: Row, new: Row, _column: str) -> bool:
        ours, theirs = stored.get(leader), new.get(leader)
        return theirs is not None and (ours is None or theirs > ours or (equal and theirs == ours))

    larger = f"excluded.{leader} {'>=' if equal else '>'} m.{leader}"
    return Rule(takes_new, f"case when m.{leader} is null or {larger} then excluded.{{c}} else m.{{c}} end")


def latest(made_at: str, event: str) -> Rule:
    """Take the column of the row that was made later, of two of one time that with the larger event id: in whatever order they
    are read, the same one stays."""

    def takes_new(stored: Row, new: Row, _column: str) -> bool:
        ours, theirs = stored.get(made_at), new.get(made_at)
        return theirs is not None and (ours is None or (theirs, new[event]) > (ours, stored[event]))

    place = "({0}." + made_at + ", {0}." + event + ' collate "C")'
    larger = f"{place.format('excluded')} > {place.format('m')}"
    return Rule(takes_new, f"case when m.{made_at} is null or {larger} then excluded.{{c}} else m.{{c}} end")


def unless_revoked(rule: Rule) -> Rule:
    """As `rule`, but nothing is kept of a message that the person took back, in whatever order that is read."""

    def takes_new(stored: Row, new: Row, column: str) -> bool:
        if new.get("revoked_at") is not None:
            return True
        return stored.get("revoked_at") is None and rule.takes_new(stored, new, column)

    revoked = "coalesce(m.revoked_at, excluded.revoked_at) is not null"
    return Rule(takes_new, f"case when {revoked} then null else {rule.sql} end")


@dataclass(frozen=True, slots=True)
class Table:
    """One table: key columns (all text, in lock order) and the folded ones with SQL type and rule."""

    name: str
    key: tuple[str, ...]
    columns: Mapping[str, tuple[SqlType, Rule]]
    skips_unchanged: bool = False
    """Write nothing when no clear column changes: for rows that most events touch and few change."""
    upsert: str = field(init=False)

    def __post_init__(self) -> None:
        names = ", ".join((*self.key, *self.columns))
        types = ", ".join(
            [f"{name} text" for name in self.key] + [f"{n} {t}" for n, (t, _) in self.columns.items()]
        )
        folds = ", ".join(f"{name} = {rule.sql.format(c=name)}" for name, (_, rule) in self.columns.items())
        statement = (
            f"insert into projections.{self.name} as m ({names})"  # noqa: S608 - the names are constants of this module
            f" select {names} from json_to_recordset(%s::json) as r({types})"
            f" on conflict ({', '.join(self.key)}) do update set {folds}"
        )
        if self.skips_unchanged:
            clear = [
                (name, rule.sql.format(c=name))
                for name, (kind, rule) in self.columns.items()
                if kind != "json"
            ]
            stored, folded = ", ".join(f"m.{name}" for name, _ in clear), ", ".join(sql for _, sql in clear)
            statement += f" where ({stored}) is distinct from ({folded})"
        object.__setattr__(self, "upsert", statement)

    def key_of(self, row: Row) -> Key:
        """The key of a row."""
        return tuple(row[name] for name in self.key)

    def fold(self, rows: Iterable[Row]) -> list[Row]:
        """One row a key, in key order: what applying the rows one by one would leave."""
        folded: dict[Key, Row] = {}
        for row in rows:
            key = self.key_of(row)
            stored = folded.get(key)
            folded[key] = row if stored is None else self._join(stored, row)
        return [folded[key] for key in sorted(folded)]

    def _join(self, stored: Row, new: Row) -> Row:
        joined = dict(stored)
        for name, (_, rule) in self.columns.items():
            value = new.get(name)
            if (value is not None or rule not in _SKIPS_NULL) and rule.takes_new(stored, new, name):
                joined[name] = value
        return joined

    def merge(self, cursor: Cursor, rows: Sequence[Row]) -> None:
        """Fold these rows into the table with one statement and one parameter."""
        if rows:
            cursor.execute(self.upsert, (orjson.dumps(self.fold(rows)).decode(),))


_SKIPS_NULL = (FIRST, LEAST, GREATEST)
STATUS_TIMES: Mapping[Status, str] = {
    "submitted": "submitted_at", "sent": "sent_at", "delivered": "delivered_at", "read": "read_at",
    "rejected": "rejected_at", "failed": "failed_at", "expired": "expired_at", "unknown": "unknown_at",
}  # fmt: skip
"""Status → the column that holds when it was first reached."""

REACTION, ECHO = "reaction", "echo"
"""Kinds of rows of `message` that no event calls so: the person's reaction to one of ours, and what staff wrote past Sealpost."""

_PERSON = ("tenant", "subject")

SUBJECT = Table(
    "subject",
    _PERSON,
    {
        "created_at": ("timestamptz", FIRST),
        "first_event_at": ("timestamptz", LEAST),
        "entry_point": ("text", FIRST),
        "language": ("text", along("language_at")),
        "language_at": ("timestamptz", GREATEST),
        "profile": ("json", along("profile_at")),
        "profile_event": ("text", along("profile_at")),
        "profile_at": ("timestamptz", GREATEST),
        "stale": ("boolean", GREATEST),
    },
    skips_unchanged=True,
)
ADDRESS = Table(
    "address",
    (*_PERSON, "event"),
    {
        "channel": ("text", FIRST),
        "kind": ("text", FIRST),
        "account": ("text", FIRST),
        "bound_at": ("timestamptz", FIRST),
        "unbound": ("boolean", FIRST),
        "log_offset": ("bigint", LEAST),
        "sealed": ("json", FIRST),
    },
)
REACH = Table(
    "reach",
    (*_PERSON, "channel", "account"),
    {
        "reachable": ("boolean", along("changed_at", equal=True)),
        "changed_at": ("timestamptz", GREATEST),
    },
)
CONSENT = Table(
    "consent",
    (*_PERSON, "event"),
    {
        "log_offset": ("bigint", LEAST),
        "type": ("text", FIRST),
        "purpose": ("text", FIRST),
        "channel": ("text", FIRST),
        "acted_at": ("timestamptz", FIRST),
        "recorded_at": ("timestamptz", LEAST),
        "data": ("json", FIRST),
        "evidence": ("json", FIRST),
    },
)
PERMISSION = Table(
    "permission",
    (*_PERSON, "channel", "purpose"),
    {
        "given_at": ("timestamptz", GREATEST),
        "given_by": ("text", along("given_at")),
        "withdrawn_at": ("timestamptz", GREATEST),
    },
)
SUBSCRIPTION = Table(
    "subscription",
    (*_PERSON, "subscription"),
    {
        "list": ("text", FIRST),
        "purpose": ("text", FIRST),
        "channel": ("text", FIRST),
        "account": ("text", FIRST),
        "language": ("text", along("activated_at")),
        "basis": ("text", along("activated_at")),
        "activated_at": ("timestamptz", GREATEST),
        "end_reason": ("text", along("ended_at")),
        "ended_at": ("timestamptz", GREATEST),
    },
)
MESSAGE = Table(
    "message",
    (*_PERSON, "message"),
    {
        "direction": ("text", FIRST),
        "channel": ("text", FIRST),
        "account": ("text", FIRST),
        "purpose": ("text", FIRST),
        "kind": ("text", FIRST),
        "text": ("json", FIRST),
        "notice": ("text", FIRST),
        "about": ("text", FIRST),
        "template": ("text", FIRST),
        "language": ("text", FIRST),
        "content": ("json", unless_revoked(REQUESTED_CONTENT)),
        "content_event": ("text", unless_revoked(REQUESTED_CONTENT)),
        "content_type": ("text", unless_revoked(REQUESTED_CONTENT)),
        "edit_event": ("text", unless_revoked(latest("edit_made_at", "edit_event"))),
        "edit": ("json", unless_revoked(latest("edit_made_at", "edit_event"))),
        "edit_made_at": ("timestamptz", GREATEST),
        "edited_at": ("timestamptz", GREATEST),
        "reaction_event": ("text", unless_revoked(latest("reaction_made_at", "reaction_event"))),
        "reaction": ("json", unless_revoked(latest("reaction_made_at", "reaction_event"))),
        "reaction_made_at": ("timestamptz", GREATEST),
        "reacted_at": ("timestamptz", GREATEST),
        "revoked_at": ("timestamptz", LEAST),
        "asked_at": ("timestamptz", LEAST),
        "first_status_at": ("timestamptz", LEAST),
        "logged_at": ("timestamptz", LEAST),
        "log_offset": ("bigint", LEAST),
        "first_status_logged_at": ("timestamptz", LEAST),
        "reason": ("text", along("status_rank")),
        "code": ("integer", along("status_rank")),
        "status_rank": ("smallint", GREATEST),
        **dict.fromkeys(STATUS_TIMES.values(), ("timestamptz", LEAST)),
    },
)
ERASURE = Table(
    "erasure",
    ("tenant", "erasure"),
    {
        "subject": ("text", FIRST),
        "state_rank": ("smallint", GREATEST),
        "requested_by": ("text", FIRST),
        "reason": ("text", FIRST),
        "evidence": ("text", FIRST),
        "t0": ("timestamptz", LEAST),
        "t1": ("timestamptz", LEAST),
        "t2": ("timestamptz", LEAST),
        "tr": ("timestamptz", FIRST),
        "t3": ("timestamptz", FIRST),
        "missing": ("json", FIRST),
        "certificate": ("json", FIRST),
        "settled_at": ("timestamptz", FIRST),
    },
)
RECEIPT = Table("receipt", ("tenant", "erasure", "store"), {"purged_at": ("timestamptz", LEAST)})
UNKNOWN_EVENT = Table(
    "unknown_event",
    (*_PERSON, "event"),
    {"topic": ("text", FIRST), "type": ("text", FIRST), "recorded_at": ("timestamptz", LEAST)},
)
FENCE = Table("fence", _PERSON, {"erasure": ("text", FIRST), "erased_at": ("timestamptz", LEAST)})

OF_A_PERSON = (SUBJECT, ADDRESS, REACH, CONSENT, PERMISSION, SUBSCRIPTION, MESSAGE, UNKNOWN_EVENT)
"""Tables that a purge empties of a subject; their first key columns are tenant and subject."""
OF_ERASURES = (ERASURE, RECEIPT)
"""Tables that outlive the subject; they name no person."""
MERGE_ORDER = (*OF_A_PERSON, *OF_ERASURES)
