"""`sealpost events tail`: the event feed of a running instance, a line an event."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import orjson
import typer

from deploy.api_commands import address
from deploy.http_client import Unreachable
from projections.log.shown import line

SILENCE_S = 60.0
"""The feed says something every 15 s; after this it is taken for gone."""


@dataclass(frozen=True, slots=True)
class TailOptions:
    """What was asked for on the command line."""

    topics: Sequence[str] = ()
    subject: str = ""
    type: str = ""
    begin: str = ""
    limit: int | None = None
    follow: bool = True
    reason: str = ""
    as_json: bool = False

    def query(self) -> str:
        """As the route wants it."""
        pairs: list[tuple[str, str]] = [("topic", topic) for topic in self.topics]
        pairs += [
            (name, value)
            for name, value in (("subject", self.subject), ("type", self.type), ("from", self.begin))
            if value
        ]
        pairs += [("limit", str(self.limit))] if self.limit else []
        pairs += [] if self.follow else [("follow", "false")]
        pairs += [("open", "true"), ("reason", self.reason)] if self.reason else []
        return urlencode(pairs)


def tail(data: Path | None, options: TailOptions) -> None:
    """Print until the end, the limit or Ctrl-C; exit code 1 when the feed refuses. Unreachable when nobody answers."""
    url, token = address(data, "agent" if options.reason else "admin")
    request = Request(
        f"{url}/v1/events?{options.query()}",
        headers={"Authorization": f"Bearer {token}", "Accept": "text/event-stream"},
    )
    try:
        with urlopen(request, timeout=SILENCE_S) as answer:
            for kind, found in events_of(answer):
                if kind == "reached":
                    continue
                typer.echo(_shown(kind, found, as_json=options.as_json))
    except HTTPError as error:
        typer.echo(error.read().decode(errors="replace"))
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        return
    except (URLError, TimeoutError, ConnectionError, HTTPException) as error:
        raise Unreachable(f"GET /v1/events: {_why(error)}") from None


def _why(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"nothing came within {SILENCE_S:g} s"
    return "nobody answers" if isinstance(error, URLError) else "the feed was cut off"


def events_of(lines: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """(kind, data) of each server-sent event; the kind is `message` where none is named."""
    kind = "message"
    for raw in lines:
        text = raw.decode().rstrip("\r\n")
        if text.startswith("event: "):
            kind = text.removeprefix("event: ")
        elif text.startswith("data: "):
            yield kind, orjson.loads(text.removeprefix("data: "))
            kind = "message"


def _shown(kind: str, found: dict[str, Any], *, as_json: bool) -> str:
    if as_json:
        # ASCII alone: what a person wrote must not reach the terminal as anything that it obeys.
        return json.dumps(found if kind == "message" else {kind: found}, separators=(",", ":"))
    if kind == "dropped":
        return f"({found.get('count', 'some')} events passed over: this reader is too slow)"
    return line(found, found.get("opened"))
