"""Every real WhatsApp webhook beside the project, posted signed to a running receiver: alone and in one batch, three times, in
random order. The other channels do the same in their own modules."""

import json
import random
from typing import Any

import psycopg
import pytest

from schemas.topics import MESSAGES
from tests.acceptance_instance import RunningInstance, post_raw, signature, topic_records, until
from tests.acceptance_quiet import await_quiet
from tests.unit.channels.whatsapp_payloads import FIXTURES, NO_FIXTURES
from workers import registry
from workers.channel import UnparseableFragment
from workers.inbound_values import InboundMessage

WHATSAPP = registry.channel("whatsapp")
ROUNDS = 3
SEED = 20261125


def ours(part: Any, account: str) -> Any:
    """A webhook with our account in place of the one it was for."""
    if isinstance(part, dict):
        return {
            name: account if name == "phone_number_id" else ours(value, account)
            for name, value in part.items()
        }
    return [ours(value, account) for value in part] if isinstance(part, list) else part


def named(webhook: dict[str, Any], name: str) -> dict[str, Any]:
    """With ids of its own: those of the collection are the same in many of its files."""
    for entry in webhook["entry"]:
        for change in entry.get("changes", []):
            for message in change["value"].get("messages") or []:
                if isinstance(message.get("id"), str):
                    message["id"] += f".{name}"
    return webhook


def real_webhooks(account: str) -> tuple[list[dict[str, Any]], int]:
    """Whole webhooks, and how many parts of them must be rejected."""
    found, rejected = [], 0
    for path in sorted(FIXTURES.glob("whatsapp-*.json")):
        fixture = json.loads(path.read_text())
        payload = fixture["payload"]
        if isinstance(payload, dict) and payload.get("object") == "whatsapp_business_account":
            found.append(named(ours(payload, account), path.stem))
            rejected += bool(fixture["expect"].get("reject"))
    return found, rejected


def facts_in(webhooks: list[dict[str, Any]]) -> set[str]:
    """The provider's ids of what people wrote: however often one comes, and with whatever words, it is one fact."""
    written: set[str] = set()
    for webhook in webhooks:
        for fragment in WHATSAPP.split(json.dumps(webhook).encode()):
            try:
                values = WHATSAPP.parse(fragment.raw)
            except UnparseableFragment:
                continue
            written |= {value.provider_id for value in values if isinstance(value, InboundMessage)}
    return written


def received(instance: RunningInstance) -> list[str]:
    """Ids of everything that people wrote, as the log has it."""
    events = [
        json.loads(record.value or b"{}") for record in topic_records(instance.ready["kafka"], MESSAGES)
    ]
    return [event["id"] for event in events if event.get("type") == "sealpost.message.received.v1"]


def letters(instance: RunningInstance) -> int:
    """Dead letters of the raw topic."""
    from deploy.deadletters import lines
    from deploy.settings import for_data

    return sum("sealpost.inbound.whatsapp" in line for line in lines(for_data(instance.data)))


@pytest.mark.skipif(not FIXTURES.exists(), reason=NO_FIXTURES)
def test_each_fact_once_and_nothing_lost(instance: RunningInstance) -> None:
    """However often and in whatever order: each message of each person once, and only what is marked so is a dead letter."""
    account = instance.whatsapp["account"]
    webhooks, rejected = real_webhooks(account)
    assert len(webhooks) > 15
    batch = {"object": "whatsapp_business_account", "entry": [e for one in webhooks for e in one["entry"]]}
    bodies = [json.dumps(one).encode() for one in [*webhooks, batch]] * ROUNDS
    random.Random(SEED).shuffle(bodies)
    letters_before, received_before = letters(instance), set(received(instance))
    for body in bodies:
        url, secret = instance.whatsapp["webhook_url"], instance.whatsapp["app_secret"]
        assert post_raw(url, body, signature(secret, body)) == 200
    facts = facts_in(webhooks)
    assert len(facts) >= 10
    until("all are read", lambda: len(set(received(instance)) - received_before) >= len(facts))
    await_quiet(instance)
    new = [one for one in received(instance) if one not in received_before]
    assert len(new) == len(set(new)) == len(facts), "a fact was told twice, or one that nobody told"
    # Alone and in the batch, each time.
    assert letters(instance) - letters_before == rejected * ROUNDS * 2
    assert shown_in_projection(instance, new) == len(facts)


def shown_in_projection(instance: RunningInstance, ids: list[str]) -> int:
    """How many of these messages the read model has."""
    with psycopg.connect(instance.ready["projections_dsn"], connect_timeout=60) as connection:
        row = connection.execute(
            "select count(*) from projections.message where message = any(%s)", (ids,)
        ).fetchone()
    assert row is not None
    return int(row[0])
