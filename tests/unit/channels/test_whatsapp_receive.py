"""Cutting webhooks into fragments, and what each fragment says."""

from typing import Any

import orjson
import pytest

from tests.unit.channels.whatsapp_payloads import OWN, change, contact, message, status, webhook
from workers import meta
from workers.channel import UnparseableBody, UnparseableFragment
from workers.channels.whatsapp.channel import CHANNEL
from workers.inbound_values import (
    Inbound,
    InboundAccountError,
    InboundMessage,
    InboundOptOut,
    InboundStatus,
    InboundUnsupported,
)


def read(body: bytes) -> list[Inbound]:
    return [value for fragment in CHANNEL.split(body) for value in CHANNEL.parse(fragment.raw)]


def read_one(item: dict[str, Any], *contacts: dict[str, Any]) -> Any:
    (value,) = read(webhook([change(contacts=list(contacts), messages=[item])]))
    return value


def test_a_batch_splits_completely_and_in_order() -> None:
    """3 entries of 2 changes with 2 messages and 3 statuses each: 30 fragments, each with its own number and contact."""
    entries = []
    expected = []
    for e in range(3):
        changes = []
        for c in range(2):
            own = f"{OWN}{e}{c}"
            people = [f"4915{e}{c}{m}0000" for m in range(2)]
            messages = [message(f"m{e}{c}{m}", who) for m, who in enumerate(people)]
            statuses = [status(word, f"s{e}{c}{word}") for word in ("sent", "delivered", "read")]
            contacts = [contact(who, f"Name {who}") for who in reversed(people)]
            changes.append(change(own=own, contacts=contacts, messages=messages, statuses=statuses))
            expected += [(own, m["id"]) for m in messages] + [(own, s["id"]) for s in statuses]
        entries.append(changes)
    fragments = CHANNEL.split(webhook(*entries))
    values = [value for fragment in fragments for value in CHANNEL.parse(fragment.raw)]
    assert [
        (v.account_ref, v.provider_id) for v in values if isinstance(v, InboundMessage | InboundStatus)
    ] == expected
    for fragment, value in zip(fragments, values, strict=True):
        assert fragment.account_ref == value.account_ref
        if isinstance(value, InboundMessage):
            assert value.name == f"Name {fragment.sender_ref}"
            assert [a.value for a in value.addresses] == [fragment.sender_ref]
        assert len(fragment.raw["value"]["contacts"]) <= 1


def test_text_and_replies() -> None:
    text = read_one(message(context={"id": "wamid.0"}), contact())
    assert (text.kind, text.text, text.words, text.in_reply_to, text.name) == (
        "text",
        "Hallo",
        "Hallo",
        "wamid.0",
        "Ada",
    )
    assert (text.provider_time_ms, text.provider_kind, text.raw) == (1_731_705_721_000, "text", None)
    pressed = read_one(message(type="button", button={"text": "STOP", "payload": "p"}), contact())
    assert (pressed.kind, pressed.option_id, pressed.option_title, pressed.words) == (
        "button_reply",
        "p",
        "STOP",
        "STOP",
    )
    for kind in ("button_reply", "list_reply"):
        chosen = read_one(
            message(type="interactive", interactive={"type": kind, kind: {"id": "1", "title": "Ja"}})
        )
        assert (chosen.kind, chosen.option_id, chosen.option_title, chosen.text) == (kind, "1", "Ja", None)
        assert chosen.provider_kind == f"interactive/{kind}"


@pytest.mark.parametrize("kind", ["image", "order", "location", "unsupported", "ephemeral"])
def test_what_is_not_as_documented_but_a_message_is_kept_whole(kind: str) -> None:
    item = message(type=kind) | {kind: [{"a": 1}]}
    value = read_one(item, contact())
    assert (value.kind, value.provider_kind, value.text) == ("unsupported", kind, None)
    assert value.raw["value"]["messages"] == [item]


def test_words_of_the_provider_are_not_clear_unless_known() -> None:
    value = read_one(message(type="Ada Lovelace 4915112345678"), contact())
    assert (value.kind, value.provider_kind) == ("unsupported", "other")
    nested = read_one(message(type="interactive", interactive={"type": "Ada"}))
    assert nested.provider_kind == "interactive/other"
    (news,) = read(webhook([change("field of Ada", hello=1)]))
    assert isinstance(news, InboundUnsupported)
    assert news.field == "other"


def test_user_ids_by_their_form_wherever_they_stand() -> None:
    only_contact = read_one(message(sender=None), contact(wa_id=None, user_id="US.99"))
    assert [(a.kind, a.value) for a in only_contact.addresses] == [("bsuid", "US.99")]
    both = read_one(message(from_user_id="US.99"), contact(user_id="US.99", parent_user_id="US.ENT.1"))
    assert [(a.kind, a.value) for a in both.addresses] == [("bsuid", "US.99"), ("phone", "4915112345678")]
    parent = read_one(message(), contact(user_id="US.ENT.1"))
    assert [a.kind for a in parent.addresses] == ["phone"]


def test_the_most_stable_id_routes() -> None:
    def sender(item: dict[str, Any], *contacts: dict[str, Any]) -> str:
        (fragment,) = CHANNEL.split(webhook([change(contacts=list(contacts), messages=[item])]))
        return fragment.sender_ref

    assert sender(message(), contact(user_id="US.99")) == "US.99"
    assert sender(message(from_user_id="US.99")) == "US.99"
    assert sender(message(), contact()) == "4915112345678"
    assert sender(message(recipient_id="4915199999999"), contact()) == "4915112345678", (
        "an id that stands twice"
    )
    (fragment,) = CHANNEL.split(webhook([change(statuses=[status(recipient_user_id="US.99")])]))
    assert fragment.sender_ref == "US.99"


def test_a_contact_of_somebody_else_is_not_taken() -> None:
    alone = read_one(message(), contact("4915199999999", "Bob", user_id="US.1"))
    assert alone.name is None
    assert [a.value for a in alone.addresses] == ["4915112345678"]
    one_of_two = read_one(message(), contact("4915199999999", "Bob"), contact(name="Ada"))
    assert one_of_two.name == "Ada"


def test_groups_and_news_about_people_are_no_messages_to_us() -> None:
    group = read_one(message(group_id="555"), contact())
    assert isinstance(group, InboundUnsupported)
    assert group.provider_kind == "group"
    for kind in ("system", "request_welcome"):
        assert isinstance(read_one(message(type=kind), contact()), InboundUnsupported)
    (reported,) = read(webhook([change(statuses=[status("read", recipient_type="group")])]))
    assert isinstance(reported, InboundUnsupported)


def test_statuses() -> None:
    echo = f"{'0' * 32}.0"
    error = {"code": 131026, "title": "no", "error_data": {"details": "Ada has no WhatsApp"}}
    batch = [status(w) for w in ("sent", "delivered", "read", "played", "deleted", "in_orbit")]
    batch.append(status("failed", biz_opaque_callback_data=echo, errors=[error]))
    values = read(webhook([change(statuses=batch)]))
    assert [getattr(v, "status", v.__class__.__name__) for v in values] == [
        "sent", "delivered", "read", "played", "InboundUnsupported", "failed",
    ]  # fmt: skip
    failed = values[-1]
    assert isinstance(failed, InboundStatus)
    assert (failed.echo, failed.error_code, failed.error_class, failed.raw_error) == (
        echo,
        131026,
        "UNREACH",
        error,
    )
    assert failed.recipient is not None
    assert failed.recipient.value == "4915112345678"
    assert "Ada" not in repr(failed)
    assert "4915112345678" not in repr(failed)


@pytest.mark.parametrize(
    ("code", "about"), [(131026, (False, False)), (131050, (True, True)), (130472, (False, True))]
)
def test_a_failed_status_says_what_its_code_tells_about_the_person(
    code: int, about: tuple[bool, bool]
) -> None:
    """(she said no, only this message is meant); without a code, and of what did not fail, neither."""
    batch = [status("failed", errors=[{"code": code}]), status("failed"), status("sent")]
    found = read(webhook([change(statuses=batch)]))
    assert [(one.opted_out, one.message_only) for one in found if isinstance(one, InboundStatus)] == [
        about, (False, False), (False, False),
    ]  # fmt: skip


def test_account_errors_and_preferences() -> None:
    stop = {
        "wa_id": "4915112345678",
        "category": "marketing_messages",
        "value": "stop",
        "timestamp": 1731705721,
    }
    signup = {**stop, "value": "signup"}
    body = webhook(
        [change(errors=[{"code": 131031, "title": "locked"}, {"code": "130429"}])],
        [change("user_preferences", user_preferences=[stop, stop, signup])],
    )
    locked, slow, first, again, other = read(body)
    assert locked == InboundAccountError(OWN, 131031, "ACCOUNT")
    assert slow == InboundAccountError(OWN, 130429, "RATE")
    assert isinstance(first, InboundOptOut)
    assert first == again
    assert (first.scope, first.value, first.provider_time_ms) == ("marketing", "stop", 1_731_705_721_000)
    assert isinstance(other, InboundUnsupported)


@pytest.mark.parametrize("timestamp", ["asdf", "", None, True, 1.5, "-1", "１２", "9" * 20, [], {}])
def test_a_time_that_is_none_is_rejected(timestamp: Any) -> None:
    with pytest.raises(UnparseableFragment) as caught:
        read_one(message(timestamp=timestamp), contact())
    assert caught.value.why == "timestamp"


def test_seconds_and_milliseconds() -> None:
    assert read_one(message(timestamp=1731705721)).provider_time_ms == 1_731_705_721_000
    assert read_one(message(timestamp="1731705721123")).provider_time_ms == 1_731_705_721_123


@pytest.mark.parametrize(
    ("item", "why"),
    [
        (message(""), "no_id"),
        (message(sender="bla"), "no_address"),
        (message(sender=None), "no_address"),
        (message(text={"body": None}), "malformed"),
        (message(text="Hallo"), "malformed"),
        (message(type="interactive", interactive={"type": "list_reply"}), "malformed"),
        (message(type=7), "malformed"),
        (message(type="interactive", interactive={"type": "nfm_reply"}), "malformed"),
        (message(type="reaction", reaction={"emoji": "x"}), "malformed"),
        (message(type="edit", edit=[{"a": 1}]), "malformed"),
        (message(type="revoke", revoke={"original_message_id": ""}), "malformed"),
        (message(type="system", system={"type": "user_changed_number", "wa_id": "bla"}), "no_address"),
    ],
)
def test_what_is_not_as_documented_is_rejected_without_its_neighbours(item: dict[str, Any], why: str) -> None:
    fragments = CHANNEL.split(webhook([change(messages=[message("a"), item, message("b")])]))
    with pytest.raises(UnparseableFragment) as caught:
        CHANNEL.parse(fragments[1].raw)
    assert caught.value.why == why
    assert "bla" not in str(caught.value)
    assert len(CHANNEL.parse(fragments[0].raw) + CHANNEL.parse(fragments[2].raw)) == 2


def test_strange_parts_are_fragments_of_their_own() -> None:
    body = {
        "object": "whatsapp_business_account",
        "entry": [
            None,
            {"id": "1", "changes": [7, change(messages=["x", message()], something=[1])]},
            {"id": "2"},
        ],
    }
    fragments = CHANNEL.split(orjson.dumps(body))
    kinds = [
        "malformed" if "malformed" in f.raw else next(iter(f.raw["value"].keys() - {"metadata", "contacts"}))
        for f in fragments
    ]
    assert kinds == ["malformed", "malformed", "malformed", "messages", "something", "malformed"]


def test_an_empty_webhook_means_nothing() -> None:
    assert CHANNEL.split(webhook()) == []
    assert CHANNEL.split(webhook([change(contacts=[contact()], messages=[])])) == []


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"7", b'{"object":"page","entry":[]}', b"\xff", b"[" * 100_000]
)
def test_bodies_that_are_no_webhook(body: bytes) -> None:
    with pytest.raises(UnparseableBody):
        CHANNEL.split(body)


def test_half_an_emoji_does_not_lose_the_body() -> None:
    body = webhook([change(contacts=[contact(name="NAME")], messages=[message()])]).replace(
        b"NAME", b"Ada \\ud83d"
    )
    (value,) = read(body)
    assert isinstance(value, InboundMessage)
    assert value.name == "Ada ?"


def test_a_body_does_not_grow_by_being_split() -> None:
    """A huge contact is not copied to each message, and there is an end to the number of parts."""
    big = contact(name="x" * meta.COMPANION_MAX_BYTES)
    (fragment,) = CHANNEL.split(webhook([change(contacts=[big], messages=[message()])]))
    assert fragment.raw["value"]["contacts"] == []
    with pytest.raises(UnparseableBody):
        CHANNEL.split(webhook([change(errors=[{}] * (meta.FRAGMENTS_MAX + 1))]))


@pytest.mark.parametrize("levels", [240, 300, 2_000])
def test_a_body_nested_deeper_than_can_be_written_is_none_of_whatsapp(levels: int) -> None:
    """It could be read but not sealed: the whole of it is a dead letter, and not a webhook that fails for ever."""
    body = webhook([change(messages=[message(text={"body": "deep"})])])
    with pytest.raises(UnparseableBody):
        CHANNEL.split(body.replace(b'"deep"', b"[" * levels + b"]" * levels))


@pytest.mark.parametrize(
    ("preference", "kind", "supported", "why"),
    [
        ({"value": "stop"}, "opt_out", True, None),
        ({"value": "resume"}, "resume", True, None),
        ({"value": "resume", "wa_id": "Ada"}, "resume", False, "no_address"),
        ({"value": "stop", "wa_id": "Ada"}, "opt_out", False, "no_address"),
        ({"value": "perhaps"}, "unsupported", False, None),
        ({"value": "stop", "category": "all"}, "unsupported", False, None),
        ({"value": "stop", "timestamp": "soon"}, "rejected", False, "timestamp"),
        ({"value": "stop", "kind": "message", "supported": "yes", "why": "red"}, "opt_out", True, "red"),
    ],
)
def test_preferences_as_the_command_line_prints_them(
    preference: dict[str, Any], kind: str, supported: bool, why: str | None
) -> None:
    """Stop and resume are two kinds; a provider's field never stands for one of our words."""
    item = {"wa_id": "4915112345678", "category": "marketing_messages", "timestamp": 1731705721, **preference}
    (fragment,) = CHANNEL.split(webhook([change("user_preferences", user_preferences=[item])]))
    (line,) = CHANNEL.describe(fragment.raw)
    assert (line["kind"], line["supported"], line.get("why")) == (kind, supported, why)


def test_values_show_nothing_personal() -> None:
    value = read_one(message("wamid.secret", text={"body": "geheim"}), contact())
    fragment = CHANNEL.split(webhook([change(messages=[message()])]))[0]
    for shown in (repr(value), repr(fragment)):
        assert not any(word in shown for word in ("geheim", "Ada", "4915112345678", "wamid"))


def test_what_a_status_says_of_its_price() -> None:
    priced: dict[str, Any] = {
        "conversation": {"id": "c", "expiration_timestamp": "1731792122", "origin": {"type": "utility"}},
        "pricing": {"billable": True, "pricing_model": "PMP", "type": "regular", "category": "utility"},
    }
    (fragment,) = CHANNEL.split(webhook([change(statuses=[status(**priced)])]))
    (line,) = CHANNEL.describe(fragment.raw)
    assert line.items() >= {
        "conversation_origin": "utility", "conversation_expires": 1_731_792_122, "pricing_model": "PMP",
        "pricing_type": "regular", "price_category": "utility", "billable": True,
    }.items()  # fmt: skip


@pytest.mark.parametrize(
    ("found", "kinds"),
    [
        (message(), ["message"]),
        (status(), ["status"]),
        (change(messages=[message(), message("wamid.2")], statuses=[status()]), ["message", "message", "status"]),
        (change(contacts=[contact()], messages=[message()])["value"], ["message"]),
        ({"message_echoes": [message(to="4915112345678")]}, ["echo"]),
        ({"user_id_update": [{"user_id": {"previous": "DE.1", "current": "DE.2"}, "timestamp": "1731705721"}]},
         ["address_change"]),
        (change("security", event="PIN_CHANGED"), ["account_news"]),
        ({"something": "else"}, ["rejected"]),
    ],
)  # fmt: skip
def test_an_element_by_itself_is_read_by_its_form(found: dict[str, Any], kinds: list[str]) -> None:
    assert [line["kind"] for line in CHANNEL.describe(found)] == kinds
