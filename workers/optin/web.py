"""What the public routes share: what they need, pages as answers, forms as they come."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import parse_qs

from fastapi import Request, Response

from schemas.constants import Times
from schemas.http import Refusal
from schemas.settings import TenantSettings
from vault.vault import Vault
from workers.channel import Channel
from workers.intake.producing import Sends
from workers.optin import pages
from workers.receiver import sources
from workers.receiver.limits import Network

FORM_MAX_BYTES = 8_192
FORM_FIELDS_MAX = 50


class SettingsSource(Protocol):
    """Published settings (streams.kafka.settings_follower)."""

    def tenant(self, tenant: str) -> TenantSettings | None:
        """Settings of one tenant."""
        ...


@dataclass(frozen=True, slots=True)
class PublicParts:
    """What the public routes need. `source_of`: the address a request counts for (behind a trusted proxy, the one it tells)."""

    vault: Vault
    producer: Sends
    settings: SettingsSource
    times: Times
    channel: Callable[[str], Channel]
    source_of: Callable[[Request], str]


def html(text: str, status: int = 200) -> Response:
    """A page."""
    return Response(text, status, dict(pages.HEADERS), "text/html; charset=utf-8")


def source_of(trusted: Sequence[Network]) -> Callable[[Request], str]:
    """Tells which address a request counts for, for the limits alone: it is neither kept nor logged. `trusted`: proxies whose
    X-Forwarded-For is believed."""

    def found(request: Request) -> str:
        peer = request.client.host if request.client is not None else ""
        return sources.source_of(peer, request.scope["headers"], trusted)

    return found


def same_origin(request: Request) -> bool:
    """True unless a browser says that the request comes from another site's page."""
    origin = request.headers.get("origin")
    return origin is None or origin.partition("://")[2] == request.headers.get("host", "")


async def form_fields(request: Request) -> dict[str, list[str]]:
    """Fields of a form that a page sent, by name; Refusal `too_large`."""
    body = await request.body()
    if len(body) > FORM_MAX_BYTES:
        raise Refusal("too_large")
    try:
        return parse_qs(
            body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=FORM_FIELDS_MAX
        )
    except ValueError:
        raise Refusal("invalid") from None
