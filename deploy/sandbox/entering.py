"""Who may use the page: whoever has the address with the key that `sealpost up` printed, from the page itself.

It listens on loopback, where any web site open in the same browser and any other user of the machine can knock. So: a key,
which the page has from the part of its address that reaches no server, and sends as a header (a cookie would go to every other
server on 127.0.0.1); only the host names of loopback (a name that was rebound to 127.0.0.1 is another host); and nothing that
another site's page asks for. The page's own files hold nothing secret and need no key. Pure.
"""

import hmac
from collections.abc import Mapping
from enum import Enum

JSON = "application/json"
ENTRANCE = "/#"
"""The key follows."""
_BEARER = "Bearer "


class Refused(Enum):
    """Why a request is not answered: HTTP status, and what to say."""

    HOST = (421, "This is the sandbox of a Sealpost on this machine; open it as 127.0.0.1 or localhost.")
    ORIGIN = (403, "Another site's page has asked for this; only the sandbox page itself may.")
    KEY = (401, "Open the address that `sealpost up` printed; it is `sandbox_url` in the ready file.")
    BODY = (415, "Only JSON is taken here.")

    @property
    def status(self) -> int:
        """HTTP status."""
        return int(self.value[0])

    @property
    def words(self) -> str:
        """What to do."""
        return str(self.value[1])


def hosts(port: int) -> frozenset[str]:
    """The values of `Host` that are meant for this server."""
    return frozenset((f"127.0.0.1:{port}", f"localhost:{port}"))


def is_meant(headers: Mapping[str, str], port: int) -> bool:
    """True when the request is for this server by a name of its own. `headers` finds names whatever their case."""
    return headers.get("Host", "") in hosts(port)


def refused(method: str, headers: Mapping[str, str], key: str) -> Refused | None:
    """Why somebody who is at the right host may not go through a door; None: they may."""
    own = f"http://{headers.get('Host', '')}"
    if headers.get("Origin", own) != own or headers.get("Sec-Fetch-Site", "none") not in (
        "none",
        "same-origin",
    ):
        return Refused.ORIGIN
    if not _has_key(headers.get("Authorization", ""), key):
        return Refused.KEY
    if method != "GET" and headers.get("Content-Type", "").partition(";")[0].strip() != JSON:
        return Refused.BODY
    return None


def _has_key(given: str, key: str) -> bool:
    """Compared in a time that tells nothing. Header bytes that are no text arrive as surrogates."""
    return hmac.compare_digest(given.encode(errors="surrogatepass"), (_BEARER + key).encode())
