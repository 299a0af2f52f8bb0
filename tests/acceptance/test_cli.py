"""The CLI against a running instance, as an operator uses it."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest

from deploy.instance import INSTANCE_FILE
from tests.acceptance_instance import CLI_LIMIT_S, RunningInstance, call, until

SEALPOST = str(Path(sys.executable).with_name("sealpost"))


def sealpost(*arguments: str, given: bytes = b"", code: int = 0) -> str:
    """Run a command; its standard output. The exit code must be as said."""
    done = subprocess.run(
        [SEALPOST, *arguments], input=given, capture_output=True, timeout=CLI_LIMIT_S, check=False
    )
    assert done.returncode == code, (arguments, done.stdout.decode(), done.stderr.decode())
    return done.stdout.decode()


def objects(text: str) -> list[dict[str, Any]]:
    """One JSON object a line."""
    return [json.loads(line) for line in text.splitlines()]


def test_parse_gives_one_object_a_value() -> None:
    """A text and a kind that is not supported yet, which is named as such; what is no JSON is refused in words."""
    message = {"from": "491701234567", "id": "wamid.1", "timestamp": "1763900000"}
    messages = [
        {**message, "type": "text", "text": {"body": "Hallo"}},
        {**message, "id": "wamid.2", "type": "sticker", "sticker": {"id": "s1", "mime_type": "image/webp"}},
    ]
    value = {
        "metadata": {"phone_number_id": "100"},
        "contacts": [{"wa_id": "491701234567"}],
        "messages": messages,
    }
    body = {
        "object": "whatsapp_business_account",
        "entry": [{"id": "w", "changes": [{"field": "messages", "value": value}]}],
    }
    text, sticker = objects(sealpost("parse", "whatsapp", "-", given=json.dumps(body).encode()))
    assert (text["type"], text["text"], text["from"], text["supported"]) == (
        "text",
        "Hallo",
        "491701234567",
        True,
    )
    assert (sticker["type"], sticker["supported"]) == ("sticker", True)
    assert sealpost("parse", "whatsapp", "-", given=b"no json", code=2) == ""
    assert sealpost("parse", "whatsup", "-", given=b"{}", code=2) == ""


def test_classify_says_what_an_answer_means() -> None:
    """The code in the body decides, whatever the HTTP status."""
    window = b'{"error": {"code": 131047, "message": "Re-engagement message"}}'
    meant = json.loads(sealpost("classify", "whatsapp", "--status", "400", "-", given=window))
    assert meant == {"class": "WINDOW", "code": 131047, "retry_after_s": None}
    busy = b'{"error": {"code": 130429, "message": "Rate limit hit"}}'
    assert json.loads(sealpost("classify", "whatsapp", "--status", "403", "-", given=busy))["class"] == "RATE"
    assert (
        json.loads(sealpost("classify", "whatsapp", "--status", "500", "-", given=b"oops"))["class"]
        == "RETRY"
    )


def test_topics_and_schemas_are_as_they_should_be(instance: RunningInstance) -> None:
    """On a running instance there is nothing left to make; positions are shown and valid."""
    data = ("--data", str(instance.data))
    assert sealpost("topics", "apply", *data) == ""
    assert sealpost("migrate", *data) == ""
    instance.sign_up(instance.new_number())  # a role has a position once it has read something
    positions = objects(sealpost("recover", *data))
    assert {position["role"] for position in positions} >= {"vault", "inbound", "streams.subscriber"}
    assert all(position["valid"] for position in positions)
    sealpost("recover", "nobody", "--to", "start", *data, code=2)


def test_message_explain_says_what_became_of_it(instance: RunningInstance) -> None:
    """One that arrived, one after the STOP, one that does not exist."""
    data, number = ("--data", str(instance.data)), instance.new_number()
    subject, arrived, refused = instance.left_after_a_newsletter(number)
    steps = sealpost("message", "explain", arrived, *data).splitlines()
    assert steps[0].endswith("A text for the purpose newsletter was asked for, over whatsapp.")
    assert any("The provider took it." in step for step in steps)
    assert steps[-1] in ("It arrived on the person's device.", "The person opened it.")
    shown = sealpost("message", "explain", refused, *data)
    assert re.search(
        r"^Not sent: consent for newsletter withdrawn on .* UTC by a keyword in the chat\.$",
        shown,
        re.MULTILINE,
    )
    assert (
        json.loads(sealpost("message", "explain", refused, "--json", *data))["reason"] == "consent_withdrawn"
    )
    assert number not in shown
    sealpost("message", "explain", "0" * 32, *data, code=1)
    lines = sealpost("subject", "timeline", subject, *data).splitlines()
    assert any("Consent to newsletter is given." in line for line in lines)
    assert any(refused in line and "It is rejected: consent_withdrawn." in line for line in lines)


def test_message_explain_lists_every_part_of_a_long_text(instance: RunningInstance) -> None:
    """Three parts, of which the provider refuses the second: which, why, and what became of the others."""
    data, number = ("--data", str(instance.data)), instance.new_number()
    subject = instance.sign_up(number)
    faults = f"{instance.whatsapp['simulator_url']}/control/faults"
    for fault in ({"delay_s": 0}, {"error": 131008}):
        assert call("POST", faults, body={"to": number, "next": 1, **fault}).status < 300
    sent = instance.send(number, "Birnen sind da. " * 550).body["message_id"]
    instance.item(subject, sent, {"failed"})
    held = "Part 3, 1 attempt: Not sent: a part of the same text before it was not sent, and a text with a hole is none."
    shown = until(
        "its last part",
        lambda: found if held in (found := sealpost("message", "explain", sent, *data)) else "",
    )
    assert isinstance(shown, str)
    *steps, first, second, _, last = shown.splitlines()
    assert first == "Part 1, 1 attempt: The provider took it."
    assert second.startswith("Part 2, 1 attempt: Not delivered: the provider refused it for good")
    assert second.endswith("(the provider's code 131008)")
    assert last.startswith("Part 2: Not delivered: ")
    for words in (
        "Part 1: The provider took it.",
        "Part 2: The provider refused it.",
        "Part 3: It was held back",
    ):
        assert [words in step for step in steps].count(True) == 1, words
    told = json.loads(sealpost("message", "explain", sent, "--json", *data))
    assert (told["status"], told["reason"]) == ("failed", "PERM")
    assert [(part["part"], part["status"], part.get("reason")) for part in told["parts"]] == [
        (0, "submitted", None),
        (1, "failed", "PERM"),
        (2, "rejected", "part_failed"),
    ]
    assert [attempt["outcome"] for part in told["parts"] for attempt in part["attempts"]] == [
        "submitted",
        "failed",
        "rejected",
    ]
    assert number not in shown + json.dumps(told)
    assert "Birnen" not in shown + json.dumps(told)


def test_events_tail_shows_bars_and_opens_for_a_reason(instance: RunningInstance) -> None:
    """A line an event in the order of the log; the words only with role, --open and --reason; a limit ends a follower."""
    data, number = ("--data", str(instance.data)), instance.new_number()
    instance.write(number, "Sind Birnen da?")
    subject = instance.subject_of(number)
    tail = ("events", "tail", "--subject", subject, "--no-follow", *data)
    until("its events", lambda: "message.received.v1" in sealpost(*tail))
    shown = sealpost(*tail)
    assert "▒" in shown
    assert "Birnen" not in shown + sealpost(*tail, "--json")
    assert number not in shown
    assert all(one["subject"] == subject for one in objects(sealpost(*tail, "--json")))
    assert "Sind Birnen da?" in sealpost(*tail, "messages", "--open", "--reason", "T-4711")
    assert len(sealpost("events", "tail", "--from", "start", "--limit", "3", *data).splitlines()) == 3
    sealpost(*tail, "--open", code=2)
    sealpost("events", "tail", "nonsense", *data, code=1)


def limits_of(instance: RunningInstance, account: str) -> tuple[Any, ...] | None:
    """An account's own limits as the vault holds them: rate, pair interval, pair burst."""
    query = "select rate_per_s, pair_interval_s, pair_burst from vault.accounts where account = %s"
    with psycopg.connect(instance.ready["vault_dsn"]) as connection:
        return connection.execute(query, (account,)).fetchone()


def test_a_tenant_from_registration_to_agreement(instance: RunningInstance) -> None:
    """register prints tokens once; dpa records and ends; connect and notice make it usable; show says what is published."""
    data = ("--data", str(instance.data))
    made = json.loads(sealpost("tenant", "register", "shop", "--name", "Shop AG", "--language", "en", *data))
    assert made["tenant"] == "shop"
    assert {"officer", "agent", "producer"} <= set(made["tokens"])
    repeated = sealpost("tenant", "register", "shop", "--name", "Shop AG", "--language", "en", *data)
    assert json.loads(repeated) == {"tenant": "shop"}
    issued = json.loads(sealpost("tokens", "issue", "shop", "agent", "--replace", *data))
    looked = f"{instance.ready['api_url']}/v1/subjects/{'0' * 32}"
    old, new = (call("GET", looked, token=token) for token in (made["tokens"]["agent"], issued["token"]))
    assert (old.status, new.status) == (401, 404)
    sealpost("tokens", "issue", "nobody", "agent", *data, code=1)
    sealpost("tokens", "issue", "sandbox", "agent", "--replace", *data, code=2)
    sealpost("tenant", "dpa", "shop", "--version", "2026-01", *data)
    secrets = ("--app-secret", "a-secret", "--verify-token", "a-token", "--access-token", "another")
    connect = ("tenant", "connect", "shop", "whatsapp", "--connection", "shop-wa", "--account", "4711")
    assert "/webhooks/whatsapp/shop-wa" in sealpost(*connect, *secrets, *data)
    assert limits_of(instance, "4711") == (None, None, None)
    sealpost(*connect, *secrets, "--rate", "20", "--pair-interval", "0", *data)
    sealpost(*connect, *secrets, *data)
    assert limits_of(instance, "4711") == (20.0, 0.0, None), "new secrets leave the limits as they are"
    sealpost(*connect, *secrets, "--rate", "0", *data, code=2)
    notice = ("tenant", "notice", "shop", "--language", "en", "--url")
    sealpost(*notice, "https://shop.example/privacy", *data)
    sealpost(*notice, "https://shop.example/privacy", *data)
    sealpost(*notice, "https://shop.example/other", *data, code=2)
    sealpost(*notice, "https://shop.example/other", "--version", "2", *data)

    def shown() -> dict[str, Any]:
        found: dict[str, Any] = json.loads(sealpost("tenant", "show", "shop", *data))
        return found

    settings = until("everything published", lambda: (s := shown())["accounts"] and s["notices"] and s)
    assert isinstance(settings, dict)
    assert (settings["name"], settings["default_language"], settings["dpa"]) == ("Shop AG", "en", True)
    kept = {reference: one["url"] for reference, one in settings["notice_history"].items()}
    assert kept == {
        "privacy/1/en": "https://shop.example/privacy",
        "privacy/2/en": "https://shop.example/other",
    }
    sealpost("tenant", "dpa", "shop", "--end", *data)
    assert until("the end of the agreement", lambda: not shown()["dpa"])
    sealpost("tenant", "show", "nobody", *data, code=2)


def test_a_slip_in_a_command_stores_nothing(instance: RunningInstance) -> None:
    """A tenant that nobody registered, a name that fits in no URL, a page that is none, a name that is taken."""
    data = ("--data", str(instance.data))
    secrets = ("--app-secret", "a-secret", "--verify-token", "a-token", "--access-token", "another")
    for tenant, connection, account in (
        ("nobody", "nobody-wa", "4712"),
        (instance.ready["tenant"], "a/b c", "4712"),
        (instance.ready["tenant"], "fine-wa", "x y"),
        (instance.ready["tenant"], "fine-wa", instance.ready["channels"]["whatsapp"]["account"]),
    ):
        names = ("--connection", connection, "--account", account)
        sealpost("tenant", "connect", tenant, "whatsapp", *names, *secrets, *data, code=2)
    with psycopg.connect(instance.ready["vault_dsn"]) as database:
        assert database.execute(
            "select count(*) from vault.connections where connection like '%fine%' or connection like '%nobody%'"
        ).fetchone() == (0,)
    for page in ("javascript:alert(1)", "http://shop.example", "https://", "https://a b"):
        notice = ("tenant", "notice", instance.ready["tenant"], "--language", "de", "--url", page)
        sealpost(*notice, *data, code=2)


def test_subject_show_and_erase(instance: RunningInstance) -> None:
    """show gives the person's data, erase an erasure id; afterwards show says erased."""
    data = ("--data", str(instance.data))
    number = instance.new_number()
    subject = instance.sign_up(number)
    until("the address", lambda: instance.api("GET", f"/v1/subjects/{subject}").body.get("addresses"))
    assert number in sealpost("subject", "show", subject, *data)
    assert json.loads(sealpost("subject", "erase", subject, *data))["erasure_id"]
    until("erased", lambda: '"erased"' in sealpost("subject", "show", subject, *data))
    sealpost("subject", "show", "0" * 32, *data, code=1)


def test_without_an_instance_the_words_help(tmp_path: Path) -> None:
    """A folder in which nothing was started is named, with the command that starts one."""
    command = [SEALPOST, "deadletters", "list", "--data", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, timeout=CLI_LIMIT_S, check=False)
    assert done.returncode == 2
    assert "sealpost up" in done.stderr.decode()


def test_an_instance_that_does_not_run_is_said_to(instance: RunningInstance, tmp_path: Path) -> None:
    """What is known of it lies in its folder, and yet nobody answers."""
    shutil.copy(instance.data / INSTANCE_FILE, tmp_path)
    for command in (
        ["migrate"],
        ["topics", "apply"],
        ["recover"],
        ["deadletters", "list"],
        ["tenant", "show", "x"],
    ):
        argv = [SEALPOST, *command, "--data", str(tmp_path)]
        done = subprocess.run(argv, capture_output=True, timeout=CLI_LIMIT_S, check=False)
        assert done.returncode == 2
        assert done.stderr.decode().startswith(f"sealpost: the instance in {tmp_path} does not run")


@pytest.mark.parametrize("setting", ["SEALPOST_METRICS_PORT", "SEALPOST_PORT"])
def test_a_port_that_is_taken_is_said_in_words(instance: RunningInstance, setting: str) -> None:
    """A role that cannot listen names the ports and ends with 1; no trace of the program's inside."""
    with socket.create_server(("127.0.0.1", 0)) as held:
        done = subprocess.run(
            [SEALPOST, "run", "receiver", "--data", str(instance.data)],
            env={**os.environ, setting: str(held.getsockname()[1])},
            capture_output=True,
            timeout=CLI_LIMIT_S,
            check=False,
        )
    said = done.stderr.decode()
    assert done.returncode == 1
    assert "cannot listen on 127.0.0.1: port" in said
    assert "Traceback" not in said
