"""The way itself, from outside (issue: sign-up, chat, stop, agreement, erasure, return)."""

import base64
import json
import time
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from schemas.clock import to_ms
from schemas.constants import DAY_S
from tests.acceptance_instance import SHORT_TIMES, RunningInstance, call, until

OPT_IN = ["OptInRequested", "ConsentRequested", "ConfirmationSent", "OptInConfirmed", "ConsentGiven"]


def test_start_ja_stop_in_german(instance: RunningInstance) -> None:
    """START → question with notice link; JA → consent with evidence, subscription, welcome; STOPP → withdrawn, confirmed."""
    number = instance.new_number()
    instance.write(number, "START")
    question = until("the question", lambda: instance.phone(number))[0]["body"]
    assert "https://" in question
    assert "JA" in question
    instance.write(number, "JA")
    until("the welcome", lambda: len(instance.phone(number)) == 2)
    subject = instance.subject_of(number)
    until("the history", lambda: set(OPT_IN) <= set(instance.consent_types(subject)))
    types = instance.consent_types(subject)
    assert types.index("OptInRequested") < types.index("ConsentRequested") < types.index("OptInConfirmed")
    consents = instance.api("GET", f"/v1/subjects/{subject}/consents").body["items"]
    given = next(c for c in consents if c["type"] == "ConsentGiven")
    assert "JA" in str(given["evidence"])
    assert {consent["purpose"] for consent in consents} == {"newsletter"}, (
        "a step of the proof names another purpose"
    )
    until(
        "the subscription", lambda: instance.api("GET", f"/v1/subjects/{subject}").body.get("subscriptions")
    )

    accepted = instance.send(number, "Neues aus dem Laden", "newsletter")
    instance.item(subject, accepted.body["message_id"], {"sent", "delivered", "read"})
    instance.write(number, "STOPP")
    until("the confirmation", lambda: "abgemeldet" in instance.phone(number)[-1]["body"])
    until("withdrawn", lambda: "ConsentWithdrawn" in instance.consent_types(subject))
    refused = instance.send(number, "Noch eins", "newsletter")
    assert instance.item(subject, refused.body["message_id"], {"rejected"})["reason"] == "consent_withdrawn"
    assert all("Noch eins" not in m["body"] for m in instance.phone(number))


def test_yes_answers_in_english(instance: RunningInstance) -> None:
    """The language of the keyword used decides the answer."""
    number = instance.new_number()
    instance.write(number, "Subscribe")
    question = until("the question", lambda: instance.phone(number))[0]["body"]
    assert "YES" in question
    instance.write(number, "Yes!")
    until("the welcome", lambda: len(instance.phone(number)) == 2)
    assert "sign-up is confirmed" in instance.phone(number)[1]["body"]
    instance.write(number, "stop")
    until("the confirmation", lambda: "unsubscribed" in instance.phone(number)[-1]["body"])


def test_who_only_writes_gets_no_newsletter(instance: RunningInstance) -> None:
    """Without consent a newsletter is rejected no_consent; a service text goes out while the window is open."""
    number = instance.new_number()
    instance.write(number, "Guten Tag")
    subject = instance.subject_of(number)
    newsletter = instance.send(number, "Werbung", "newsletter")
    assert instance.item(subject, newsletter.body["message_id"], {"rejected"})["reason"] in {
        "no_consent",
        "consent_withdrawn",
    }
    service = instance.send(number, "Ihre Antwort")
    instance.item(subject, service.body["message_id"], {"sent", "delivered", "read"})
    assert [m["body"] for m in instance.phone(number)] == ["Ihre Antwort"]


def test_closed_window_rejects_free_form_but_not_templates(instance: RunningInstance) -> None:
    """24 h after the person's last message a text is rejected window_closed, a template goes out."""
    number = instance.new_number()
    text_message = {"type": "text", "text": {"body": "Hallo"}, "from": number, "id": f"wamid.old-{number}"}
    yesterday = {**text_message, "timestamp": str(int(time.time()) - 25 * 3600)}
    contact = {"wa_id": number, "profile": {"name": "Ada"}}
    assert instance.post_webhook({"contacts": [contact], "messages": [yesterday]}) == 200
    subject = instance.subject_of(number)
    text = instance.send(number, "Zu spät")
    assert instance.item(subject, text.body["message_id"], {"rejected"})["reason"] == "window_closed"
    to = {"channel": "whatsapp", "address": number}
    content = {"type": "template", "name": "order_ready", "language": "de", "variables": ["17"]}
    template = instance.api(
        "POST", "/v1/messages", "producer", {"to": to, "purpose": "service", "content": content}
    )
    assert template.status == 202, template
    instance.item(subject, template.body["message_id"], {"sent", "delivered", "read"})


def test_dpa_ends_while_people_are_subscribed(instance: RunningInstance) -> None:
    """409 no_dpa at the door; what was accepted before and not yet sent is Rejected no_dpa; with a new agreement it goes on."""
    number, tenant = instance.new_number(), instance.ready["tenant"]
    subject = instance.sign_up(number)
    simulator = instance.whatsapp["simulator_url"]
    fault = {"to": number, "error": 131016, "retry_after_s": 1}
    assert call("POST", f"{simulator}/control/faults", body=fault).status < 300
    waiting = instance.send(number, "Wartet")
    assert waiting.status == 202
    assert instance.api("DELETE", f"/v1/tenants/{tenant}/dpa", "admin").status == 202
    try:
        # A permit of before the end may still have its call: the provider takes none until the message is rejected.
        assert instance.item(subject, waiting.body["message_id"], {"rejected"})["reason"] == "no_dpa"
        assert call("POST", f"{simulator}/control/faults", body={"clear": True}).status < 300
        refused = instance.send(number, "Gar nicht")
        assert refused.status == 409
        assert refused.body["type"].endswith("no_dpa")
    finally:
        signed = instance.api("POST", f"/v1/tenants/{tenant}/dpa", "admin", {"version": "2026-02"})
    assert signed.status == 202, signed
    again = instance.send(number, "Weiter", "newsletter")
    assert again.status == 202
    instance.item(subject, again.body["message_id"], {"sent", "delivered", "read"})


def test_a_later_start_makes_a_new_subject(instance: RunningInstance) -> None:
    """After erasure the same number is a new person with nothing of the former one."""
    number = instance.new_number()
    first = instance.sign_up(number)
    instance.erase(first)
    instance.write(number, "START")
    until(
        "the question",
        lambda: "https://" in instance.phone(number)[-1]["body"] and len(instance.phone(number)) >= 3,
    )
    second = instance.subject_of(number)
    assert second != first
    assert "ConsentGiven" not in instance.consent_types(second)


def test_the_certificate_counts_the_backups(instance: RunningInstance) -> None:
    """T3 is T1 and the days for which this installation says it keeps backups."""
    number = instance.new_number()
    instance.write(number, "Hallo")
    erased = instance.erase(instance.subject_of(number))
    kept_ms = float(SHORT_TIMES["SEALPOST_BACKUP_KEPT_DAYS"]) * DAY_S * 1000
    assert to_ms(erased["t3"]) - to_ms(erased["t1"]) == kept_ms


def test_anybody_can_check_a_certificate(instance: RunningInstance) -> None:
    """With two answers of the API and a library for Ed25519, and with no part of Sealpost; a changed fact shows."""
    number = instance.new_number()
    instance.write(number, "Hallo")
    erased = instance.erase(instance.subject_of(number))
    shown = instance.api("GET", "/v1/certificates/keys", "officer")
    keys = {found["key"]: base64.b64decode(found["public"]) for found in shown.body["keys"]}
    public = Ed25519PublicKey.from_public_bytes(keys[erased["certificate"]["key"]])
    signature = base64.b64decode(erased["certificate"]["signature"])
    facts = {name: erased[name] for name in ("t0", "t1", "t2", "t3", "tr")}
    facts |= {
        "erasure": erased["erasure_id"],
        "receipts": sorted(erased["receipts"], key=lambda one: one["store"]),
    }

    def signed(facts: dict[str, Any]) -> bytes:
        return json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

    public.verify(signature, signed(facts))
    with pytest.raises(InvalidSignature):
        public.verify(signature, signed(facts | {"t1": facts["t0"]}))


def test_many_messages_to_one_person_do_not_wait_for_one_another(instance: RunningInstance) -> None:
    """The sandbox has no pair limit: with the provider's, the 46th would wait 6 s and each further one 6 s more."""
    number = instance.new_number()
    instance.write(number, "Hallo")
    instance.subject_of(number)
    for n in range(60):
        assert instance.send(number, f"{n}").status == 202
    until("all 60", lambda: len(instance.phone(number)) == 60)
    assert [message["body"] for message in instance.phone(number)] == [f"{n}" for n in range(60)]
