"""Edits, reactions, moves, echoes and news, decided: ids that do not depend on the order, and nothing personal in clear."""

from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.addresses import Address
from schemas.events.messages import MessageReceived
from schemas.events.subscriptions import AddressBound, AddressUnbound, ReachChanged
from schemas.events.tenants import AccountNews, TemplateStatusChanged
from streams.step.contract import Record
from vault.claims import ClaimInfo
from vault.moving import Moved
from vault.reach import Covered
from vault.subjects import ResolvedSender
from workers.inbound.changes import (
    decide_account_news,
    decide_address_change,
    decide_echo,
    decide_edit,
    decide_reaction,
    decide_resumed,
    decide_revoke,
    decide_template_status,
    decide_watermark,
)
from workers.inbound.decisions import Decision, decide_message
from workers.inbound.fragments import Received, identity, kind_word
from workers.inbound_values import (
    Inbound,
    InboundAccountNews,
    InboundAddressChange,
    InboundEcho,
    InboundEdit,
    InboundEntry,
    InboundMessage,
    InboundOptOut,
    InboundReaction,
    InboundRevoke,
    InboundTemplateStatus,
    InboundWatermark,
)

AT_MS = 1_795_478_400_123
SUBJECT, OTHER = "5" * 32, "6" * 32
KNOWN = ResolvedSender(SUBJECT)
PHONE = Address("whatsapp", "phone", "4915112345678")
NEW_PHONE = Address("whatsapp", "phone", "4915112345679")
CLAIM = ClaimInfo("20261123" + "a" * 24, 0, "acme", SUBJECT, "account-1", "service", 1, has_outcome=True)
EDIT = InboundEdit("pn", "id-1", AT_MS, (PHONE,), "target-1", "Birne", {"a": 1})
REVOKE = InboundRevoke("pn", "id-2", AT_MS, (PHONE,), "target-1")
REACTION = InboundReaction("pn", "id-3", AT_MS, (PHONE,), "target-1", "👍")
ECHO = InboundEcho("pn", "id-4", AT_MS, PHONE, "Hallo", {"a": 1})
WATERMARK = InboundWatermark("pn", AT_MS, PHONE, "read", AT_MS)
TEMPLATE = InboundTemplateStatus("", "id-5", AT_MS, "offer", "de", "paused", None)
NEWS = InboundAccountNews("", "id-6", AT_MS, "account_update", "other")
MOVE = InboundAddressChange("pn", "id-7", AT_MS, (PHONE,), (NEW_PHONE,))
ENTRY = InboundEntry("pn", "id-8", AT_MS, (PHONE,), None, "token")
BLOCK = InboundOptOut("pn", "id-9", AT_MS, (PHONE,), "all", "stop")
VALUES: list[tuple[Inbound, str]] = [
    (EDIT, "edit"), (REVOKE, "revoke"), (REACTION, "reaction"), (ECHO, "echo"), (WATERMARK, "watermark.read"),
    (TEMPLATE, "template_status"), (NEWS, "account_news"), (MOVE, "address_change"), (ENTRY, "entry"), (BLOCK, "block.stop"),
]  # fmt: skip


def received(value: Inbound, **more: Any) -> Received:
    """A fragment that holds `value`."""
    record = Record("sealpost.inbound.whatsapp", 2, 17, b"ab12", b"sealed", AT_MS)
    made = Received("e" * 32, "acme", "whatsapp", "account-1", AT_MS, b"k" * 32, value, record)
    return replace(made, **more)


@pytest.mark.parametrize(("value", "word"), VALUES)
def test_every_value_has_an_identity_of_its_own_and_a_word(value: Inbound, word: str) -> None:
    """A repetition has the same one, whatever bytes it came in; no two kinds share one."""
    assert kind_word(value) == word
    assert identity(value, b"1") == identity(value, b"2")
    assert len({identity(one, b"1") for one, _ in VALUES}) == len(VALUES)


def test_the_switch_for_everything_is_another_one() -> None:
    """The same provider id may stand for both."""
    assert identity(BLOCK, b"") != identity(replace(BLOCK, scope="marketing"), b"")
    assert identity(WATERMARK, b"") != identity(replace(WATERMARK, watermark_ms=AT_MS + 1), b"")
    assert identity(WATERMARK, b"") != identity(replace(WATERMARK, recipient=NEW_PHONE), b"")


def test_a_message_is_named_as_it_will_be_or_was() -> None:
    """Where ids are counted for each account, the account is part of the name."""
    message = InboundMessage("pn", "target-1", AT_MS, (PHONE,), None, "text", "text", "Hallo")
    for space in ("", "account-1/"):
        place = received(EDIT, id_space=space)
        named = place.message_of("target-1")
        own = received(message, id=named, id_space=space)
        (said,) = decide_message(own, message, KNOWN, ()).drafts
        assert isinstance(said.data, MessageReceived)
        assert said.data.message == named
    assert received(EDIT).message_of("a") != received(EDIT, id_space="account-1/").message_of("a")


MARKER = st.text(min_size=3).map(lambda words: f"Marker-{words}-Zwölf")


@given(MARKER)
def test_nothing_personal_stands_in_clear(marker: str) -> None:
    """Neither words, emoji and raw nor the provider's ids: not in the clear data, not in a repr, not in an id."""
    edit = replace(EDIT, text=marker, target=marker, provider_id=marker, raw={"x": marker})
    revoke = replace(REVOKE, target=marker, provider_id=marker)
    reaction = replace(REACTION, target=marker, provider_id=marker, emoji=marker)
    echo = replace(ECHO, text=marker, provider_id=marker, raw={"x": marker})
    decisions: list[tuple[Inbound, Decision]] = [
        (edit, decide_edit(received(edit), edit, KNOWN, ("news",))),
        (revoke, decide_revoke(received(revoke), revoke, KNOWN)),
        (reaction, decide_reaction(received(reaction), reaction, KNOWN, None)),
        (reaction, decide_reaction(received(reaction), reaction, KNOWN, CLAIM)),
        (echo, decide_echo(received(echo), echo, KNOWN, None)),
    ]
    for value, decision in decisions:
        (draft,) = decision.drafts
        assert "Zwölf" not in draft.data.model_dump_json()
        assert "Zwölf" not in repr(draft) + repr(value) + repr(received(value))
        assert marker in orjson.loads(draft.content or b"").values()


def test_an_act_of_before_an_erasure_writes_nothing() -> None:
    """Nor does what is about nobody."""
    gone, nobody = ResolvedSender("", dropped=True), ResolvedSender("", unknown=True)
    decisions: list[Decision] = [
        decide_edit(received(EDIT), EDIT, gone, ("news",)),
        decide_revoke(received(REVOKE), REVOKE, gone),
        decide_reaction(received(REACTION), REACTION, gone, None),
        decide_echo(received(ECHO), ECHO, gone, None),
        decide_watermark(received(WATERMARK), WATERMARK, gone, Covered()),
        decide_resumed(received(BLOCK), gone, reach_changed=False),
    ]
    assert {decision.why for decision in decisions} == {"erased"}
    decisions = [
        decide_echo(received(ECHO), ECHO, nobody, None),
        decide_watermark(received(WATERMARK), WATERMARK, nobody, Covered()),
    ]
    assert {decision.why for decision in decisions} == {"unknown_recipient"}
    assert not any(decision.drafts for decision in decisions)


def test_a_message_after_a_block_says_so_first() -> None:
    """ReachChanged stands before the message that made it."""
    message = InboundMessage("pn", "id", AT_MS, (PHONE,), None, "text", "text", "Hallo")
    who = ResolvedSender(SUBJECT, reachable_again=True)
    reach, said = decide_message(received(message), message, who, ()).drafts
    assert isinstance(reach.data, ReachChanged)
    assert reach.data.reachable
    assert isinstance(said.data, MessageReceived)


def test_a_move_names_each_subject_and_no_address() -> None:
    """Two numbers of a kind have different ids, which are not made of the numbers."""
    moved = Moved(SUBJECT, ((SUBJECT, PHONE), (OTHER, NEW_PHONE)), (NEW_PHONE,))
    first, second, bound = decide_address_change(received(MOVE), moved).drafts
    assert isinstance(first.data, AddressUnbound)
    assert isinstance(bound.data, AddressBound)
    assert [first.subject, second.subject, bound.subject] == [SUBJECT, OTHER, SUBJECT]
    assert len({first.id, second.id, bound.id}) == 3
    swapped = Moved(SUBJECT, ((SUBJECT, NEW_PHONE), (OTHER, PHONE)), (PHONE,))
    again = decide_address_change(received(MOVE), swapped).drafts
    assert [draft.id for draft in again] == [first.id, second.id, bound.id]
    assert PHONE.value not in repr((moved, MOVE, first))


def test_the_status_of_a_watermark_is_one_fact_of_its_message() -> None:
    """Its id is the same whatever watermark says it, and another for another status."""
    later = replace(WATERMARK, watermark_ms=AT_MS + 5)
    delivered = replace(WATERMARK, status="delivered")
    covered = Covered((CLAIM,))
    ids = [
        decide_watermark(received(value, id=name * 32), value, KNOWN, covered).drafts[0].id
        for value, name in ((WATERMARK, "a"), (later, "b"), (delivered, "c"))
    ]
    assert ids[0] == ids[1] != ids[2]


def test_news_belong_to_the_tenant() -> None:
    """Their subject is the tenant, and nothing is sealed."""
    (template,) = decide_template_status(received(TEMPLATE, account=""), TEMPLATE).drafts
    (news,) = decide_account_news(received(NEWS, account=""), NEWS).drafts
    assert template.data == TemplateStatusChanged(
        account="", template="offer", language="de", status="paused"
    )
    assert news.data == AccountNews(account="", field="account_update", event="other")
    assert {template.subject, news.subject} == {"acme"}
    assert (template.content, news.content) == (None, None)


def test_what_an_erased_person_wrote_is_not_named_under_her_new_subject() -> None:
    """Nor by an edit, nor by a reaction, nor by taking it back; the target stays in the sealed part."""
    back = ResolvedSender(KNOWN.subject, created=True, returning=True)
    for value, decision in (
        (EDIT, decide_edit(received(EDIT), EDIT, back, ())),
        (REVOKE, decide_revoke(received(REVOKE), REVOKE, back)),
        (REACTION, decide_reaction(received(REACTION), REACTION, back, None)),
    ):
        draft = decision.drafts[-1]
        named = draft.data.model_dump()["message"]
        assert named != received(value).message_of(value.target)
        assert value.target in orjson.loads(draft.content or b"").values()
