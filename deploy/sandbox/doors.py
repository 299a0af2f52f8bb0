"""What the page may reach, and as whom: routes of the public API each with one role, the control side of the simulator, no more.

The tokens stay on this side; the page names the role in the path (`/as/producer/v1/messages`), so that whoever reads along sees
who acts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Acting = Literal["admin", "officer", "agent", "producer", "person"]
"""A role of the API, or the person, who has the simulator instead of a token."""
OPENING_TICKET = "T-1"
"""Stands in the log of the role api as the reason for which the page opens blocks."""
ID = "[0-9a-f]{32}"


@dataclass(frozen=True, slots=True)
class Door:
    """One route. `path`: of the API or the simulator, in aiohttp's form; `fixed`: parts of the query that the page cannot choose;
    `streams`: the answer has no end."""

    acting: Acting
    method: Literal["GET", "POST"]
    path: str
    fixed: Mapping[str, str] | None = None
    streams: bool = False

    @property
    def page_path(self) -> str:
        """Where the page finds it."""
        return f"/as/{self.acting}{self.path}"


DOORS: tuple[Door, ...] = (
    Door("person", "POST", "/control/inbound"),
    Door("person", "GET", "/control/messages"),
    Door("producer", "POST", "/v1/messages"),
    Door("agent", "POST", "/v1/subjects/lookup"),
    Door("agent", "GET", f"/v1/subjects/{{subject:{ID}}}"),
    Door("agent", "GET", f"/v1/subjects/{{subject:{ID}}}/messages"),
    Door("agent", "GET", f"/v1/messages/{{message:{ID}}}/explanation"),
    Door("officer", "POST", f"/v1/subjects/{{subject:{ID}}}/erasure"),
    Door("officer", "GET", f"/v1/erasures/{{erasure:{ID}}}"),
    Door("admin", "GET", "/v1/events", streams=True),
    Door(
        "agent",
        "GET",
        "/v1/events",
        fixed={"open": "true", "reason": OPENING_TICKET, "follow": "false"},
        streams=True,
    ),
)
