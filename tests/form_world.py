"""A tenant with a sign-up form on the running API, as the widget, the plain page and another site see it."""

from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlencode, urlsplit

import psycopg

from schemas.clock import now_ms
from schemas.events import registry, tenants
from schemas.ids import random_id
from tests.api_world import CHANNEL, ApiWorld, Reply, Tenant
from tests.step_world import await_until

ORIGIN, FOREIGN = "https://www.example.org", "https://evil.example"
NOTICE_URL = "https://www.example.org/datenschutz"
NUMBER = "4930123456"
SETTLED_S = 60.0


@dataclass(frozen=True, slots=True)
class SignUps:
    """A tenant with a form, as the widget sees it."""

    tenant: Tenant
    form: str

    @property
    def place(self) -> str:
        """Path of its page."""
        return f"/optin/forms/{self.tenant.name}/{self.form}"

    def offer(self, origin: str | None = None, language: str = "de") -> Reply:
        """What the widget asks for, on a page of `origin`."""
        headers = {"Origin": origin} if origin else {}
        return self.tenant.world.call("GET", f"{self.place}/offer?language={language}", headers=headers)

    def body(self, **changes: Any) -> dict[str, Any]:
        """What a widget sends that was shown the form as it is now."""
        offer = self.offer().body
        return {
            "language": offer["language"], "purposes": ["newsletter"], "accepted": True,
            "notice": offer["notice"]["reference"], "text": offer["text"], **changes,
        }  # fmt: skip

    def send(self, body: Any, origin: str | None = None) -> Reply:
        """What the widget sends, on a page of `origin`."""
        headers = {"Origin": origin} if origin else {}
        return self.tenant.world.call("POST", f"{self.place}/signups", body=body, headers=headers)

    def tokens(self) -> int:
        """How many sign-ups were recorded."""
        with psycopg.connect(self.tenant.world.vault_dsn) as connection:
            row = connection.execute(
                "select count(*) from vault.entry_tokens where tenant = %s", [self.tenant.name]
            ).fetchone()
        assert row is not None
        return int(row[0])


def approve_account(tenant: Tenant, handle: str | None = NUMBER) -> None:
    """The tenant may use its account, and its number is on record."""
    data = tenants.ChannelApproved(connection="c1", account=tenant.account, handle=handle)
    tenant.world.produce(
        registry.build(
            data, id=random_id(), role="test", tenant=tenant.name, subject=tenant.name, at_ms=now_ms(), channel=CHANNEL
        )
    )  # fmt: skip


def publish(tenant: Tenant, kind: str, version: int = 2, language: str = "de", **more: Any) -> Reply:
    """A wording of the business's own."""
    words = {
        "notice": "Unsere Hinweise\n\nWas wir tun, und warum.",
        "text": "Ja zu „{purpose}“ von {business}.",
    }
    body = {"kind": kind, "version": version, "language": language, "body": words[kind], **more}
    reply = tenant.call("POST", "/v1/wordings", "officer", body)
    assert reply.status == 201, reply
    return reply


def make_form(tenant: Tenant, **more: Any) -> dict[str, Any]:
    """A new form; the answer."""
    body = {"purposes": ["newsletter"], "origins": [ORIGIN], **more}
    reply = tenant.call("POST", "/v1/forms", "officer", body)
    assert reply.status == 201, reply
    made: dict[str, Any] = reply.body
    return made


def complete(world: ApiWorld) -> SignUps:
    """A tenant whose form shows all it needs."""
    tenant = world.tenant()
    approve_account(tenant)
    publish(tenant, "notice", url=NOTICE_URL)
    publish(tenant, "text")
    made = SignUps(tenant, make_form(tenant)["form"])
    await_until(lambda: made.offer().status == 200, SETTLED_S, "the form offers something")
    return made


def fields(form: SignUps, **changes: Any) -> dict[str, Any]:
    """What the plain page sends."""
    body = form.body()
    sent = {
        "language": "de",
        "notice": body["notice"],
        "text": body["text"],
        "purpose": "newsletter",
        "accepted": "yes",
    }
    return {name: value for name, value in {**sent, **changes}.items() if value is not None}


def posted(world: ApiWorld, place: str, sent: dict[str, Any], **headers: str) -> Reply:
    """A page's form is sent."""
    named = {"Content-Type": "application/x-www-form-urlencoded", **headers}
    return world.call("POST", place, raw=urlencode(sent).encode(), headers=named)


def sent_from(
    world: ApiWorld, source: str, place: str, body: bytes, kind: str = "application/json"
) -> tuple[int, bytes]:
    """POST from another address of the loopback network: status and body."""
    return asked_from(world, source, "POST", place, body, {"Content-Type": kind})


def got_from(world: ApiWorld, source: str, place: str) -> tuple[int, bytes]:
    """GET from there."""
    return asked_from(world, source, "GET", place, None, {})


def asked_from(
    world: ApiWorld, source: str, method: str, place: str, body: bytes | None, headers: dict[str, str]
) -> tuple[int, bytes]:
    """One request from another address of the loopback network."""
    there = urlsplit(world.url)
    connection = HTTPConnection(there.hostname or "", there.port, timeout=60, source_address=(source, 0))
    connection.request(method, place, body, headers)
    answer = connection.getresponse()
    told = answer.status, answer.read()
    connection.close()
    return told
