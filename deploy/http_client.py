"""A small blocking HTTP client for the CLI and the tour: JSON in, status and JSON out, with an explicit time limit."""

from dataclasses import dataclass
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import orjson

from schemas.errors import SealpostError

TIMEOUT_S = 15.0


class Unreachable(SealpostError):
    """Nothing answers at the address named; is the instance running? Start it with `sealpost up`."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Status and decoded JSON body (None when there is none)."""

    status: int
    body: Any


def call(
    method: str, url: str, *, token: str | None = None, body: Any = None, timeout_s: float = TIMEOUT_S
) -> Answer:
    """One request. Error statuses are answers, not exceptions; Unreachable when nobody answers in time."""
    headers = {"Accept": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    data = None
    if body is not None:
        headers["Content-Type"] = "application/json"
        data = orjson.dumps(body)
    request = Request(url, data=data, headers=headers, method=method)
    try:
        with urlopen(request, timeout=timeout_s) as response:
            return Answer(response.status, _decode(response.read()))
    except HTTPError as error:
        return Answer(error.code, _decode(error.read()))
    except (URLError, TimeoutError, ConnectionError):
        raise Unreachable(
            f"{method} {url.split('?', maxsplit=1)[0]}: no answer within {timeout_s:g} s"
        ) from None


def _decode(raw: bytes) -> Any:
    if not raw:
        return None
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
