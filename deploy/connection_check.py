"""`sealpost connections test`: what can be known of a connection without sending a message, in words."""

import http.client
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from urllib.parse import SplitResult, urlencode, urlsplit

from deploy.connecting import find, opened_vault
from deploy.doctor import Finding
from deploy.settings import Settings
from schemas.clock import now_ms, to_text
from schemas.errors import ConfigurationError
from vault.connections import Connection
from vault.errors import KeyRefused
from vault.rotation import ConnectionFacts
from vault.vault import Vault
from workers import proofs, registry
from workers.channel import WebhookRequest

TIMEOUT_S = 15.0
ANSWER_MAX_BYTES = 4_096
UNREACHABLE = 0
_MENDS = {
    UNREACHABLE: "look at the address, the proxy and the role receiver",
    404: "let the proxy pass /webhooks/… on as it is; a receiver of this installation knows a new connection at once",
    401: "is this a receiver of this installation? It follows a changed secret within some seconds",
    403: "is this a receiver of this installation? It follows a changed secret within some seconds",
    429: "wait a minute: too many wrong requests came from here",
    503: "look at the role receiver: its /readyz, Kafka, and the role clock",
}


def check(settings: Settings, connection: str, url: str) -> Iterator[Finding]:
    """Every finding about a connection; with a `url` also what our own receiver there answers. UnknownConnection when there is
    none."""
    base = _base(url) if url else None
    with opened_vault(settings) as vault:
        facts = find(vault, connection)
        yield Finding("ok", f"{connection} is a connection of {facts.tenant} on {facts.channel}")
        usable = {one.connection: one for one in vault.connections().usable}.get(connection)
        yield _secrets(usable, connection)
        yield from _rotation(facts)
        yield _agreement(vault, facts)
        yield from _accounts(vault, facts)
    if usable is None:
        return
    if base is None:
        yield Finding("ok", "the receiver was not asked; give --url, the address that the provider knows")
    else:
        yield from _receiver(usable, base)


def _secrets(usable: Connection | None, connection: str) -> Finding:
    if usable is None:
        mend = "give the master key of this installation; else restore the vault from its backup"
        return Finding("wrong", f"the secrets of {connection} do not open", mend)
    if not usable.app_secret:
        mend = f"sealpost connections rotate-secret {connection}"
        return Finding("missing", "the app secret, without which every webhook is refused", mend)
    return Finding("ok", "its secrets open")


def _rotation(facts: ConnectionFacts) -> Iterator[Finding]:
    if facts.rotating:
        until = to_text(facts.previous_until_ms or 0)
        yield Finding("ok", f"a rotation is under way: the secret before is valid until {until}")


def _agreement(vault: Vault, facts: ConnectionFacts) -> Finding:
    state = vault.tenant_state(facts.tenant)
    if state is not None and state.dpa:
        return Finding("ok", f"{facts.tenant} has a data-processing agreement on record")
    mend = f"sealpost tenant dpa {facts.tenant} --version VERSION"
    return Finding(
        "missing", f"a data-processing agreement of {facts.tenant}: nothing is stored or sent", mend
    )


def _accounts(vault: Vault, facts: ConnectionFacts) -> Iterator[Finding]:
    again = f"sealpost connections add {facts.tenant} {facts.channel} --connection {facts.connection}"
    if not facts.accounts:
        yield Finding("missing", "an account", f"{again} --account ID")
    if len(facts.accounts) > 1 and not registry.channel(facts.channel).capabilities.names_account:
        words = "several accounts, and webhooks of this channel name none: nobody can say whose they are"
        yield Finding("wrong", words, "connect each account with a connection of its own")
    for one in facts.accounts:
        mend = f"{again} --account {one.account}"
        try:
            vault.account(one.account)
        except KeyRefused:
            yield Finding("wrong", f"the access token of account {one.account} does not open", mend)
            continue
        if one.approved:
            yield Finding("ok", f"account {one.account} is approved, its access token opens")
        else:
            yield Finding(
                "missing", f"the approval of account {one.account}", f"{mend}; is the role vault up?"
            )


# ---- our own receiver ---------------------------------------------------------------------------------------------


def _base(url: str) -> SplitResult:
    """ConfigurationError for an address to which no secret may go."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_here(host)):
        raise ConfigurationError(
            "--url must be https://…, or http:// on this machine: secrets are shown to it"
        )
    if not host or parts.query or parts.fragment or parts.username is not None:
        raise ConfigurationError(
            "--url must be the address before /webhooks/…, without anything after the path"
        )
    return parts


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@dataclass(frozen=True, slots=True)
class _Said:
    """What the receiver answered; status 0: nothing."""

    status: int
    body: bytes = field(default=b"", repr=False)


def _receiver(connection: Connection, base: SplitResult) -> Iterator[Finding]:
    channel = registry.channel(connection.channel)
    greeting = proofs.handshake(channel, connection)
    if greeting is not None:
        said = _ask(base, connection, greeting)
        right = said.status == 200 and said.body == proofs.CHALLENGE.encode()
        yield _told(right, "the receiver answers the provider's handshake", "the handshake", said)
    proof = proofs.proved(channel, connection, b"", now_ms())
    if proof is None:
        yield Finding("ok", "the proof of this channel's webhooks cannot be made here; it is not tested")
        return
    said = _ask(base, connection, proof)
    yield _told(
        said.status == 200, "the receiver takes a webhook with the current secret", "a proved webhook", said
    )
    if said.status != 200:
        return
    said = _ask(base, connection, replace(proof, headers={}))
    right = said.status in (401, 403)
    yield _told(right, "the receiver refuses one without a proof", "a webhook without a proof", said)


def _told(right: bool, well: str, what: str, said: _Said) -> Finding:
    if right:
        return Finding("ok", well)
    answer = f"was answered {said.status}" if said.status else "got no answer"
    other = "something else answers at this address; look at the proxy"
    return Finding("wrong", f"{what} {answer}", _MENDS.get(said.status, other))


def _ask(base: SplitResult, connection: Connection, request: WebhookRequest) -> _Said:
    """One request to the receiver. Redirects are not followed: the headers may hold a secret."""
    secure = base.scheme == "https"
    kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    path = f"{base.path.rstrip('/')}/webhooks/{connection.channel}/{connection.connection}"
    query = f"?{urlencode(request.query)}" if request.query else ""
    with closing(kind(base.hostname or "", base.port, timeout=TIMEOUT_S)) as wire:
        try:
            wire.request(request.method, path + query, request.body or None, dict(request.headers))
            answer = wire.getresponse()
            return _Said(answer.status, answer.read(ANSWER_MAX_BYTES))
        except (OSError, http.client.HTTPException):
            return _Said(UNREACHABLE)
