"""The sandbox page's server as a stranger meets it: other users of the machine, other sites in the same browser."""

import http.client
import json
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from deploy.sandbox.server import HEADERS
from tests.acceptance_instance import CLI_LIMIT_S, RunningInstance, until

Got = tuple[int, dict[str, str], bytes]


class Knocker:
    """Raw requests to the page's server."""

    def __init__(self, instance: RunningInstance) -> None:
        asked = urlsplit(instance.ready["sandbox_url"])
        assert asked.port is not None
        self.port = asked.port
        self.key = f"Bearer {asked.fragment}"

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> Got:
        """Status, headers with small names, body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        content = None
        if body is not None:
            content = json.dumps(body)
            sent.setdefault("Content-Type", "application/json")
        try:
            connection.request(method, path, content, sent)
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            connection.close()


@pytest.fixture
def knocker(instance: RunningInstance) -> Knocker:
    """Somebody who has been let in once, and knows the cookie."""
    return Knocker(instance)


def test_no_door_opens_without_the_key(knocker: Knocker) -> None:
    """The page's own files are everybody's; what is behind the doors is not. A wrong key is no key, whatever its bytes."""
    wrong = knocker.key[:-1] + ("A" if knocker.key[-1] != "A" else "B")
    for path in ("/about", "/as/admin/v1/events", "/as/person/control/messages"):
        assert knocker.ask("GET", path)[0] == 401
        assert knocker.ask("GET", path, Authorization=wrong)[0] == 401
        assert knocker.ask("GET", path, Authorization="Bearer \xff\xfe")[0] == 401
        assert knocker.ask("GET", path, Cookie=f"key={knocker.key}")[0] == 401
    assert knocker.ask("POST", "/as/agent/v1/subjects/lookup", {})[0] == 401


def test_the_key_goes_to_no_other_server(instance: RunningInstance, knocker: Knocker) -> None:
    """It stands after the #, which no browser sends, and no answer sets a cookie, which all ports of 127.0.0.1 would get."""
    assert (
        instance.ready["sandbox_url"]
        == f"http://127.0.0.1:{knocker.port}/#{knocker.key.removeprefix('Bearer ')}"
    )
    for path in ("/", "/sandbox.js", "/about"):
        status, headers, _ = knocker.ask("GET", path, Authorization=knocker.key)
        assert status == 200
        assert "set-cookie" not in headers


def test_another_site_can_do_nothing(knocker: Knocker) -> None:
    """Even with the cookie: a rebound name, a foreign origin, a form."""
    lookup = {"channel": "whatsapp", "address": "491701234567"}
    path = "/as/agent/v1/subjects/lookup"
    key = knocker.key
    assert knocker.ask("POST", path, lookup, Authorization=key)[0] == 200
    assert knocker.ask("POST", path, lookup, Authorization=key, Host=f"evil.example:{knocker.port}")[0] == 421
    assert knocker.ask("POST", path, lookup, Authorization=key, Origin="https://evil.example")[0] == 403
    assert knocker.ask("POST", path, lookup, Authorization=key, Sec_Fetch_Site="cross-site")[0] == 403
    assert knocker.ask("POST", path, lookup, Authorization=key, Content_Type="text/plain")[0] == 415
    assert knocker.ask("GET", "/", Authorization=key, Host=f"evil.example:{knocker.port}")[0] == 421


def test_only_its_doors_are_open(knocker: Knocker) -> None:
    """No route of another role, no other method, no way up the path, no other query."""
    key, some = knocker.key, "0" * 32
    closed: list[tuple[str, str, object]] = [
        ("POST", "/as/admin/v1/tenants", {}),
        ("DELETE", "/as/admin/v1/tenants/sandbox/dpa", None),
        ("POST", f"/as/agent/v1/subjects/{some}/erasure", {}),
        ("GET", f"/as/officer/v1/subjects/{some}", None),
        ("GET", "/as/agent/v1/subjects/../../metrics", None),
        ("GET", f"/as/agent/v1/subjects/{some[:-2]}%2e%2e", None),
        ("DELETE", "/as/person/control", None),
        ("POST", "/as/person/control/faults", {}),
        ("GET", "/page/index.html", None),
        ("GET", "/../deploy/server.py", None),
    ]
    for method, path, body in closed:
        status = knocker.ask(method, path, body, Authorization=key, Content_Type="application/json")[0]
        assert status in (404, 405), (method, path, status)


def test_the_page_cannot_choose_what_its_server_says(instance: RunningInstance, knocker: Knocker) -> None:
    """That blocks are opened is logged with the sandbox's ticket, whatever the page asks for."""
    subject = instance.sign_up(instance.new_number())
    asked = f"subject={subject}&type=consent.given&from=start&reason=T-9&open=false&follow=true"

    def given() -> bytes:
        return knocker.ask("GET", f"/as/agent/v1/events?{asked}", Authorization=knocker.key)[2]

    body = until("the consent", lambda: found if b"data:" in (found := given()) else b"")
    assert b'"opened":{"evidence"' in body
    log = (instance.data / "logs" / "api.log").read_text()
    assert "for T-1" in log
    assert "T-9" not in log


def test_every_answer_is_strict(knocker: Knocker) -> None:
    """The headers that keep scripts, frames and caches out; on refusals too."""
    asked = (
        ("/", ""),
        ("/sandbox.js", ""),
        ("/about", ""),
        ("/about", knocker.key),
        ("/nowhere", knocker.key),
    )
    for path, key in asked:
        headers = knocker.ask("GET", path, Authorization=key)[1]
        missing = {name for name, value in HEADERS.items() if headers.get(name.lower()) != value}
        assert not missing, (path, missing)
    policy = HEADERS["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert policy.startswith("default-src 'none'")


def test_no_token_reaches_the_page(instance: RunningInstance, knocker: Knocker) -> None:
    """They stay on the server's side, in every answer."""
    tokens = [token.encode() for token in instance.ready["tokens"].values()]
    number = instance.new_number()
    asked = [
        knocker.ask("GET", "/", Authorization=knocker.key),
        knocker.ask("GET", "/about", Authorization=knocker.key),
        knocker.ask("GET", f"/as/person/control/messages?to={number}", Authorization=knocker.key),
        knocker.ask(
            "POST",
            "/as/agent/v1/subjects/lookup",
            {"channel": "whatsapp", "address": number},
            Authorization=knocker.key,
        ),
    ]
    for status, headers, body in asked:
        assert status == 200
        assert not any(token in body or token.decode() in str(headers) for token in tokens)


def test_a_body_without_end_is_refused(knocker: Knocker) -> None:
    """Larger than any message."""
    huge = {"from": "491701234567", "text": "x" * 300_000}
    status, _, body = knocker.ask("POST", "/as/person/control/inbound", huge, Authorization=knocker.key)
    assert status == 200
    assert json.loads(body) == {"status": 413, "body": {"type": "urn:sealpost:problem:too_large"}}


def test_it_is_off_in_production() -> None:
    """The role starts on an embedded instance only, whatever else is set."""
    done = subprocess.run(
        [str(Path(sys.executable).with_name("sealpost")), "run", "sandbox"],
        env={"PATH": "/usr/bin", "SEALPOST_KAFKA": "127.0.0.1:1", "SEALPOST_PORT": "0"},
        capture_output=True,
        text=True,
        timeout=CLI_LIMIT_S,
        check=False,
    )
    assert done.returncode == 1
    assert "the sandbox page belongs to an embedded instance" in done.stderr
