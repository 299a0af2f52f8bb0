"""Bad input from outside: a clear answer, nothing stored, nothing lost."""

import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from tests.acceptance_instance import (
    CLI_LIMIT_S,
    RunningInstance,
    call,
    post_raw,
    sample,
    signature,
    topic_records,
    until,
)
from tests.acceptance_marker import found_in, needles, parts_of
from tests.acceptance_quiet import Part, await_quiet


def inbound_count(instance: RunningInstance) -> int:
    """Records in the raw topic."""
    return len(topic_records(instance.ready["kafka"], "sealpost.inbound.whatsapp"))


def test_wrong_or_missing_signature(instance: RunningInstance) -> None:
    """401, counted, nothing stored."""
    await_quiet(instance)  # statuses of messages of before may still come
    stored = inbound_count(instance)
    counted = forged(instance)
    url = instance.whatsapp["webhook_url"]
    assert post_raw(url, b"{}", None) == 401
    assert post_raw(url, b"{}", "sha256=" + "0" * 64) == 401
    assert post_raw(url, b"{}", signature("another secret", b"{}")) == 401
    assert forged(instance) == counted + 3
    assert inbound_count(instance) == stored


def forged(instance: RunningInstance) -> float:
    """Webhooks refused for their signature, as the receiver counts them."""
    return sample(instance, "receiver", "sealpost_signature_failures_total", channel="whatsapp")


def test_unknown_connection_and_handshake(instance: RunningInstance) -> None:
    """404 for a connection nobody made; Meta's handshake is answered with the challenge."""
    url = instance.whatsapp["webhook_url"]
    unknown = url.rsplit("/", 1)[0] + "/nobody"
    assert post_raw(unknown, b"{}", signature(instance.whatsapp["app_secret"], b"{}")) == 404
    query = f"?hub.mode=subscribe&hub.verify_token={instance.whatsapp['verify_token']}&hub.challenge=31415"
    with urlopen(url + query, timeout=60) as answer:
        assert answer.read() == b"31415"
    with pytest.raises(HTTPError) as refused:
        urlopen(url + "?hub.mode=subscribe&hub.verify_token=wrong&hub.challenge=1", timeout=60)
    assert refused.value.code == 403


def test_body_over_the_limit(instance: RunningInstance) -> None:
    """413."""
    body = b"x" * (3 * 1024 * 1024 + 1)
    assert (
        post_raw(instance.whatsapp["webhook_url"], body, signature(instance.whatsapp["app_secret"], body))
        == 413
    )


def test_authentic_but_not_parseable(instance: RunningInstance) -> None:
    """200, dead-lettered once and sealed, counted, visible by CLI."""
    await_quiet(instance)
    body = '{"object": "whatsapp_business_account", "entry": [not json Gärtner-65537'.encode()
    counted, listed, stored = letters_counted(instance), letters_listed(instance), inbound_count(instance)
    proof = signature(instance.whatsapp["app_secret"], body)
    assert post_raw(instance.whatsapp["webhook_url"], body, proof) == 200
    until("the dead letter is listed", lambda: letters_listed(instance) == listed + 1)
    assert letters_counted(instance) == counted + 1
    assert inbound_count(instance) == stored
    bootstrap, topic = instance.ready["kafka"], "sealpost.deadletters"
    letters = [record for record in topic_records(bootstrap, topic) if b'"receiver"' in (record.value or b"")]
    assert len(letters) == listed + 1
    assert not any(
        found_in(part, needles("Gärtner-65537")) for record in letters for part in parts_of(record)
    )


def letters_counted(instance: RunningInstance) -> float:
    """Dead letters of the receiver, as it counts them."""
    labels = {"role": "receiver", "class": "UnparseableBody"}
    return sample(instance, "receiver", "sealpost_deadletters_total", **labels)


def letters_listed(instance: RunningInstance) -> int:
    """Dead letters of the receiver that `deadletters list` shows."""
    command = [str(Path(sys.executable).with_name("sealpost")), "deadletters", "list"]
    command += ["--data", str(instance.data)]
    output = subprocess.run(command, capture_output=True, check=True, timeout=CLI_LIMIT_S).stdout
    return sum(json.loads(line)["role"] == "receiver" for line in output.splitlines())


def test_api_names_the_field(instance: RunningInstance) -> None:
    """422 with the pointer of the field, never its value; 401 without token; 403 for a wrong role."""
    number = instance.new_number()
    instance.write(number, "Hallo")
    subject = instance.subject_of(number)
    to = {"channel": "whatsapp", "address": number}
    text = {"type": "text", "text": "hallo"}
    good = {"to": to, "purpose": "service", "content": text}
    bad: list[tuple[dict[str, Any], str]] = [
        ({**good, "colour": "red-4711"}, "colour"),
        ({**good, "to": {"channel": "whatsapp", "address": "red-4711"}}, "address"),
        ({**good, "content": {"type": "text", "text": ""}}, "text"),
        ({**good, "content": {"type": "text", "text": "ab" * 20_481}}, "text"),
        ({**good, "purpose": "red-4711"}, "purpose"),
        ({"purpose": "service", "content": text}, "to"),
    ]
    for body, field in bad:
        answer = instance.api("POST", "/v1/messages", "producer", body)
        assert answer.status == 422, (field, answer)
        assert field in str(answer.body["errors"]), (field, answer.body)
        assert "red-4711" not in str(answer.body)
        assert "abab" not in str(answer.body)
    stranger = instance.send("4915999999999", "hallo")
    assert stranger.status == 422
    assert stranger.body["type"].endswith("unknown_recipient")
    url = instance.ready["api_url"]
    assert call("POST", url + "/v1/messages", body=good).status == 401
    assert call("POST", url + "/v1/messages", token="wrong", body=good).status == 401
    assert instance.api("POST", f"/v1/subjects/{subject}/erasure", "producer").status == 403
    assert instance.api("POST", "/v1/tenants", "officer", {"id": "x", "name": "X"}).status == 403
    assert instance.api("GET", f"/v1/subjects/{'0' * 32}").status == 404


def test_an_unknown_recipient_leaves_no_trace(instance: RunningInstance) -> None:
    """No subject, no key, no event for an address that never wrote."""
    import psycopg

    kafka = instance.ready["kafka"]

    def counts() -> tuple[int, ...]:
        with psycopg.connect(instance.ready["vault_dsn"]) as connection:
            rows = connection.execute(
                "select (select count(*) from vault.subjects), (select count(*) from vault.keys)"
            ).fetchone()
        assert rows is not None
        names = ("sealpost.messages", "sealpost.subscriptions", "sealpost.outbound.whatsapp")
        return (*rows, *(len(topic_records(kafka, name)) for name in names))

    await_quiet(instance)  # who was looked up is in the vault a moment before it is in the log
    before = counts()
    assert instance.send("4915888888888", "hallo").status == 422
    assert counts() == before


def test_idempotency_key(instance: RunningInstance) -> None:
    """The same key and body: the same answer, one message; the same key, another body: 409."""
    number = instance.new_number()
    instance.write(number, "Hallo")
    subject = instance.subject_of(number)
    key = f"key-{number}"
    first = instance.send(number, "einmal", idempotency_key=key)
    second = instance.send(number, "einmal", idempotency_key=key)
    assert (first.status, first.body) == (second.status, second.body) == (202, first.body)
    conflict = instance.send(number, "zweimal", idempotency_key=key)
    assert conflict.status == 409
    assert conflict.body["type"].endswith("idempotency_conflict")
    instance.item(subject, first.body["message_id"], {"delivered", "read"})
    assert [m["body"] for m in instance.phone(number)] == ["einmal"]


FRAGMENTS = 3 * (2 + 3) + 3 * (2 + 1)
"""Messages and statuses in a batch."""
KEYED = ("subscriptions", "consents", "messages", "statuses", "deletions")
MADE = {"subject.created": 1, "address.bound": 1, "profile.updated": 1}
"""What the first message of a person makes."""


def sent_to(instance: RunningInstance, number: str) -> dict[str, Any]:
    """Somebody writes and is answered, and the provider keeps to itself what became of the answer; what it accepted."""
    instance.write(number, "Hallo")
    subject = instance.subject_of(number)
    fault = {"to": number, "statuses": []}
    assert call("POST", f"{instance.whatsapp['simulator_url']}/control/faults", body=fault).status < 300
    accepted = instance.send(number, "Guten Tag")
    instance.item(subject, accepted.body["message_id"], {"submitted"})
    (message,) = instance.phone(number)
    return message


def status_of(message: dict[str, Any], word: str) -> dict[str, Any]:
    """A status as the provider reports it, with our echo when it has one."""
    echo = {"biz_opaque_callback_data": message["echo"]} if "echo" in message else {}
    return {
        "id": message["id"],
        "status": word,
        "timestamp": str(int(time.time())),
        "recipient_id": message["to"],
        **echo,
    }


def batch_body(account: str, answered: list[dict[str, Any]], strangers: list[str]) -> bytes:
    """3 entries × 2 changes, each with two messages of one person: in the first the statuses of what was sent to her, in the
    second one of a message that is not ours."""

    def change(number: str, statuses: list[dict[str, Any]]) -> dict[str, Any]:
        message = {"from": number, "timestamp": str(int(time.time())), "type": "text"}
        texts = [
            {**message, "id": f"wamid.batch-{number}-{i}", "text": {"body": words}}
            for i, words in enumerate(("START", "Nr 1"))
        ]
        value = {
            "messaging_product": "whatsapp",
            "metadata": {"display_phone_number": "4930000000", "phone_number_id": account},
            "contacts": [{"wa_id": number, "profile": {"name": "Batch"}}],
            "messages": texts,
            "statuses": statuses,
        }
        return {"field": "messages", "value": value}

    entries = []
    for message, stranger in zip(answered, strangers, strict=True):
        ours = {**message, "echo": message["biz_opaque_callback_data"]}
        known = change(message["to"], [status_of(ours, word) for word in ("sent", "delivered", "read")])
        foreign = {"id": f"wamid.foreign-{stranger}", "to": stranger}
        entries.append({"id": "waba", "changes": [known, change(stranger, [status_of(foreign, "sent")])]})
    return json.dumps({"object": "whatsapp_business_account", "entry": entries}).encode()


def types_of(instance: RunningInstance, number: str) -> Counter[str]:
    """How many events of each type a person has, in all topics that are keyed by the subject."""
    subject = instance.subject_of(number).encode()
    records = [r for name in KEYED for r in topic_records(instance.ready["kafka"], f"sealpost.{name}")]
    return Counter(
        json.loads(record.value or b"")["type"].removeprefix("sealpost.").removesuffix(".v1")
        for record in records
        if record.key == subject
    )


def test_batch_webhook_each_once_and_repeats_change_nothing(instance: RunningInstance) -> None:
    """Every message and status of a batch is handled once; the same webhook five times leaves all topics but the raw ones as they
    were, when every role has read all there is."""
    strangers = [instance.new_number() for _ in range(3)]
    answered = [sent_to(instance, instance.new_number()) for _ in range(3)]
    before = await_quiet(instance)
    body = batch_body(instance.whatsapp["account"], answered, strangers)
    proof = signature(instance.whatsapp["app_secret"], body)
    assert post_raw(instance.whatsapp["webhook_url"], body, proof) == 200
    once = await_quiet(instance)
    asked = {"optin.requested": 1, "consent.requested": 1}
    for stranger in strangers:
        # The question fails once: the simulator heard nothing of them, so that it has no window of theirs.
        wanted = {"message.received": 2, **asked, "message.requested": 1, "message.failed": 1}
        assert types_of(instance, stranger) == Counter(wanted | MADE)
        assert instance.phone(stranger) == []
    for message in answered:
        wanted = {"message.received": 3, **asked, "message.requested": 2, "message.submitted": 2}
        wanted |= {"confirmation.sent": 1, "message.sent": 1, "message.delivered": 1, "message.read": 1}
        # "Ada" of the first message is called "Batch" now.
        assert types_of(instance, message["to"]) == Counter(wanted | MADE | {"profile.updated": 2})
        assert len(instance.phone(message["to"])) == 2
    accepted = len(instance.record())
    for _ in range(5):
        assert post_raw(instance.whatsapp["webhook_url"], body, proof) == 200
    after = await_quiet(instance)
    assert raw_records(once) == raw_records(before) + FRAGMENTS
    assert raw_records(after) == raw_records(once) + 5 * FRAGMENTS
    assert others(after) == others(once)
    assert len(instance.record()) == accepted


def raw_records(ends: dict[Part, int]) -> int:
    """Records in the raw topics."""
    return sum(end for (topic, _), end in ends.items() if topic.startswith("sealpost.inbound."))


def others(ends: dict[Part, int]) -> dict[Part, int]:
    """Ends of all partitions but those of the raw topics."""
    return {part: end for part, end in ends.items() if not part[0].startswith("sealpost.inbound.")}
