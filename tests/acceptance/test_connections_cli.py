"""`sealpost connections` against a running instance: connect, look, replace a secret, with signed webhooks all the way."""

import json
import os
import pty
import select
import signal
import subprocess
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from schemas.ids import random_id
from tests.acceptance.test_cli import SEALPOST, objects
from tests.acceptance_instance import CLI_LIMIT_S, RunningInstance, post_raw, sample, signature, until

SECRETS = {"app_secret": "first-secret-4711", "verify_token": "verify-4711", "access_token": "access-4711"}
NEW = {"app_secret": "second-secret-4711"}


@dataclass
class Shop:
    """A tenant of its own, and the commands about its connection; `said`: everything they printed."""

    instance: RunningInstance
    tenant: str
    said: str = ""

    @property
    def connection(self) -> str:
        return f"{self.tenant}-wa"

    def run(self, *arguments: str, given: object = None, code: int = 0) -> str:
        """A command; its standard output. The exit code must be as said."""
        raw = given if isinstance(given, bytes) else json.dumps(given).encode() if given is not None else b""
        command = [SEALPOST, *arguments, "--data", str(self.instance.data)]
        done = subprocess.run(command, input=raw, capture_output=True, timeout=CLI_LIMIT_S, check=False)
        self.said += done.stdout.decode() + done.stderr.decode()
        assert done.returncode == code, (arguments, done.stdout.decode(), done.stderr.decode())
        return done.stdout.decode()

    def add(self, account: str, *more: str, given: object = None, code: int = 0) -> str:
        names = ("--connection", self.connection, "--account", account)
        command = ("connections", "add", self.tenant, "whatsapp", *names, "--secrets", "-", *more)
        return self.run(*command, given=given, code=code)

    def check(self, *more: str, code: int = 0) -> str:
        return self.run("connections", "test", self.connection, *more, code=code)

    def listed(self) -> dict[str, Any]:
        (found,) = [
            one for one in objects(self.run("connections", "list")) if one["connection"] == self.connection
        ]
        return found

    def post(self, secret: str) -> int:
        body = b'{"object": "whatsapp_business_account", "entry": []}'
        url = f"{self.instance.ready['receiver_url']}/webhooks/whatsapp/{self.connection}"
        return post_raw(url, body, signature(secret, body))


@pytest.fixture
def shop(instance: RunningInstance) -> Shop:
    """A tenant with its agreement on record."""
    made = Shop(instance, f"s-{random_id()[:8]}")
    made.run("tenant", "register", made.tenant, "--name", "Shop AG")
    made.run("tenant", "dpa", made.tenant, "--version", "2026-01")
    return made


def approved(shop: Shop, accounts: int) -> bool:
    return [one["approved"] for one in shop.listed()["accounts"]] == [True] * accounts


def test_connect_and_look(shop: Shop) -> None:
    """Added from standard input; test says in words what works, and what does not, with its exit code; no secret anywhere."""
    shop.run("connections", "test", shop.connection, code=2)
    assert f"/webhooks/whatsapp/{shop.connection}" in shop.add("1001", "--app-id", "77", given=SECRETS)
    until("the approval", lambda: approved(shop, 1))
    shop.add("1002", given={"access_token": "access-4712"})
    until("the second approval", lambda: approved(shop, 2))
    before = sample(shop.instance, "receiver", "sealpost_deadletters_total", role="receiver")
    words = shop.check("--url", shop.instance.ready["receiver_url"])
    for part in ("secrets open", "agreement on record", "account 1001", "account 1002", "handshake"):
        assert part in words
    assert "takes a webhook with the current secret" in words
    assert "refuses one without a proof" in words
    assert sample(shop.instance, "receiver", "sealpost_deadletters_total", role="receiver") == before
    assert "was not asked" in shop.check()
    nobody = shop.check("--url", "http://127.0.0.1:1", code=1)
    assert "got no answer" in nobody
    elsewhere = shop.check("--url", shop.instance.ready["api_url"], code=1)
    assert "WRONG" in elsewhere
    shop.check("--url", "http://hooks.example", code=2)
    shown = shop.listed()
    assert (shown["tenant"], shown["channel"], shown["secrets_open"]) == (shop.tenant, "whatsapp", True)
    assert 0 <= shown["secret_age_days"] < 1
    assert shown["previous_secret_until"] is None
    shop.run("tenant", "dpa", shop.tenant, "--end")
    until(
        "the end of the agreement",
        lambda: "MISSING" in shop.run("connections", "test", shop.connection, code=1),
    )
    shop.post("guess")
    for secret in (*SECRETS.values(), "access-4712"):
        assert secret not in shop.said
        assert secret not in (shop.instance.log.read_text())


def test_a_secret_is_replaced_and_no_webhook_is_lost(shop: Shop) -> None:
    """Before the old one, during both, after the new one; PostgreSQL and log hold neither in clear."""
    first, second = SECRETS["app_secret"], NEW["app_secret"]
    shop.add("2001", given=SECRETS)
    until("the approval", lambda: approved(shop, 1))
    rotate = ("connections", "rotate-secret", shop.connection)
    assert (shop.post(first), shop.post(second)) == (200, 401)
    assert "valid until" in shop.run(*rotate, "--secrets", "-", given=NEW)
    until("the receiver knows", lambda: shop.post(second) == 200)
    assert shop.post(first) == 200
    assert shop.listed()["previous_secret_until"] is not None
    assert "rotation is under way" in shop.check("--url", shop.instance.ready["receiver_url"])
    shop.run(*rotate, "--secrets", "-", given={"app_secret": "third"}, code=2)
    assert "destroyed" in shop.run(*rotate, "--finish")
    until("the receiver refuses the old one", lambda: shop.post(first) == 401)
    assert shop.post(second) == 200
    assert "nothing to end" in shop.run(*rotate, "--finish")
    shop.run(*rotate, "--secrets", "-", given=NEW, code=2)
    shop.add("2001", given={**SECRETS, "app_secret": "sneaked in"}, code=2)
    with psycopg.connect(shop.instance.ready["vault_dsn"]) as database:
        rows = str(database.execute("select c::text from vault.connections c").fetchall())
    for secret in (first, second, "third"):
        assert secret not in shop.said
        assert secret not in rows
        assert secret.encode().hex() not in rows


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (b"", "no JSON"),
        (b"not json 4711", "no JSON"),
        (b'["4711"]', "no JSON object"),
        (b'{"app_secret": "4711"}', "missing: access_token"),
        (b'{"app_secret": "4711", "access_token": ""}', "missing: access_token"),
        (b'{"app_secret": 4711, "access_token": "x"}', "app_secret is no text"),
        (b'{"app_secret": "4711\\n4711", "access_token": "x"}', "app_secret is no text"),
        (b'{"app-secret": "4711"}', "not known: app-secret"),
    ],
)
def test_secrets_that_cannot_be_taken(shop: Shop, given: bytes, words: str) -> None:
    """The words name the field, never the value; nothing is stored."""
    shop.said = ""  # the tokens of a new tenant are random, and may have these digits
    shop.add("3001", given=given, code=2)
    assert words in shop.said
    assert "4711" not in shop.said
    assert shop.connection not in shop.run("connections", "list")


def test_at_a_terminal_secrets_are_asked_for_and_not_shown(shop: Shop) -> None:
    """Typed at the prompt, echoed nowhere; without a terminal and without --secrets the command says what to give."""
    names = ("--connection", shop.connection, "--account", "4001")
    command = ("connections", "add", shop.tenant, "whatsapp", *names)
    shop.run(*command, code=2)
    assert "--secrets" in shop.said
    typed = (SECRETS["app_secret"], SECRETS["access_token"], SECRETS["verify_token"])
    pid, terminal = pty.fork()
    if not pid:
        os.execv(SEALPOST, [SEALPOST, *command, "--data", str(shop.instance.data)])
    shown = b""
    try:
        for prompt, answer in zip((b"app_secret", b"access_token", b"verify_token"), typed, strict=True):
            # What is typed before the space is thrown away: echo is turned off just before it is printed.
            while not shown.endswith(b": ") or prompt not in shown.rsplit(b"\n", 1)[-1]:
                chunk = printed(terminal)
                assert chunk, shown
                shown += chunk
            os.write(terminal, answer.encode() + b"\n")
        while chunk := printed(terminal):
            shown += chunk
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        raise
    finally:
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        os.close(terminal)
    assert (code, b"webhook path" in shown) == (0, True), shown
    assert not any(one.encode() in shown for one in typed)
    assert shop.post(typed[0]) == 200


def printed(terminal: int) -> bytes:
    """What a program prints next; b"" when it has ended."""
    assert select.select([terminal], [], [], CLI_LIMIT_S)[0], "the program says nothing, and does not end"
    try:
        return os.read(terminal, 4_096)
    except OSError:  # Linux says so when the other side is gone
        return b""
