"""Edits, revokes, reactions, moves, blocks, echoes, watermarks, news on the real engine: each its event, once, in any order."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest

from schemas import topics
from schemas.clock import now_ms, to_text
from schemas.events.tenants import ChannelApproved
from schemas.ids import random_id
from schemas.reasons import reach_ended_ms
from tests.acting_world import (
    ACCOUNT_REF,
    ActingWorld,
    edited,
    reacted,
    revoked,
    switched,
    wrote,
)
from tests.embedded_fixtures import KafkaServer, PostgresServer
from tests.receiving_world import ReceivingWorld, Site, sample
from tests.vault_world import CHANNEL, Person, phone, tenant_event
from vault.permits import Permit, Refusal
from workers.inbound_values import (
    InboundAccountNews,
    InboundEcho,
    InboundEntry,
    InboundStatus,
    InboundTemplateStatus,
    InboundWatermark,
    Media,
)

DAY_S = 86_400


@pytest.fixture(scope="module")
def acting(
    kafka_server: KafkaServer, postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ActingWorld]:
    """One vault and one engine; each test takes a tenant of its own."""
    folder = tmp_path_factory.mktemp("acting")
    world = ReceivingWorld(kafka_server.bootstrap, postgres_server.fresh_database("acting"), folder)
    with ActingWorld.open(world) as made:
        yield made
    world.close()


@pytest.fixture
def site(acting: ActingWorld) -> Site:
    return acting.site()


def dropped(why: str) -> float:
    """Values dropped for a reason."""
    return sample("sealpost_inbound_dropped_total", channel="whatsapp", why=why)


def answer(person: Person, **more: object) -> object:
    """What the gate says to a message for the person."""
    person.tenant.world.caught_up()
    return person.vault.permits([person.ask(**more)])[0]


@pytest.mark.parametrize("message_first", [True, False])
def test_what_is_about_a_message_names_it_known_or_not(
    acting: ActingWorld, site: Site, message_first: bool
) -> None:
    """Edit, reaction and revoke carry the id of the MessageReceived, whichever comes first; a repeat writes nothing."""
    address = phone()
    message = wrote(address, text="Birnne")
    target = message.provider_id
    others = (edited(address, target, "Birne"), reacted(address, target, "👍"), revoked(address, target))
    values = (message, *others) if message_first else (*others, message)
    for value in values:
        acting.handle(site, value)
    acting.handle(site, *values)
    (said,) = acting.events(topics.MESSAGES, site, "message.received")
    (edit,) = acting.events(topics.MESSAGES, site, "message.edited")
    (reaction,) = acting.events(topics.MESSAGES, site, "message.reacted")
    (revoke,) = acting.events(topics.MESSAGES, site, "message.revoked")
    assert {one.data["message"] for one in (edit, reaction, revoke)} == {said.data["message"]} == {said.id}
    assert {one.subject for one in (edit, reaction, revoke)} == {said.subject}
    content = acting.plain(edit)
    assert (content["text"], content["target"], content["raw"]) == ("Birne", target, {"edit": target})
    assert content["provider_id"] == others[0].provider_id
    times = [to_text(one.provider_time_ms) for one in others[:2]]
    assert [one.data["provider_time"] for one in (edit, reaction)] == times
    assert acting.plain(reaction)["emoji"] == "👍"
    assert set(acting.plain(revoke)) == {"target", "provider_id", "provider_time"}
    assert len(acting.events(topics.SUBSCRIPTIONS, site, "subject.created")) == 1
    assert len(acting.events(topics.MESSAGES, site)) == 4


def test_only_messages_open_the_window(acting: ActingWorld, site: Site) -> None:
    """Who edits, reacts and takes back becomes known, but has not written."""
    address = phone()
    acting.handle(site, edited(address, "m", "x"), reacted(address, "m", ""), revoked(address, "m"))
    person = acting.person(site, address)
    assert person.vault.newest_reach(site.tenant, person.subject) is None
    assert answer(person) == Refusal("window_closed", 1)


def test_a_reaction_to_one_of_ours_names_nothing_in_clear(acting: ActingWorld, site: Site) -> None:
    """The provider's id of our message lies in the sealed part."""
    address, provider_id = phone(), random_id()
    acting.handle(site, wrote(address))
    person = acting.person(site, address)
    acting.send(person, provider_id=provider_id)
    acting.handle(site, reacted(address, provider_id, "❤"))
    (reaction,) = acting.events(topics.MESSAGES, site, "message.reacted")
    assert "message" not in reaction.data
    assert acting.plain(reaction)["target"] == provider_id


def test_two_accounts_that_count_alike(
    acting: ActingWorld, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the channel names no account, the same provider's id on another account is another message."""
    capabilities = replace(acting.channel.capabilities, names_account=False)
    monkeypatch.setattr(acting.channel, "capabilities", capabilities)
    address, provider_id, other = phone(), random_id(), replace(site, account=f"{site.account}-2")
    approved = ChannelApproved(connection=site.connection, account=other.account)
    acting.tenant(site).world.apply(tenant_event(site.tenant, approved, CHANNEL))
    acting.handle(site, wrote(address))
    acting.handle(other, wrote(address))
    acting.send(acting.person(other, address), provider_id=provider_id)
    status = InboundStatus(ACCOUNT_REF, provider_id, "delivered", now_ms())
    acting.handle(site, reacted(address, provider_id, "👍"), status)
    (reaction,) = acting.events(topics.MESSAGES, site, "message.reacted")
    assert "message" in reaction.data, "a message that we did not send there"
    assert acting.events(topics.STATUSES, site) == []
    mine = acting.send(acting.person(site, address), provider_id=provider_id)
    acting.handle(site, reacted(address, provider_id, "❤"), replace(status, status="read"))
    assert "message" not in acting.events(topics.MESSAGES, site, "message.reacted")[-1].data
    (read,) = acting.events(topics.STATUSES, site, "message.read")
    assert (read.data["message"], read.data["account"]) == (mine, site.account)
    acting.wait(3600)


@pytest.mark.parametrize(("words", "withdrawn"), [("STOPP", True), ("Ja", False), ("START", False)])
def test_only_a_stop_counts_in_an_edit(acting: ActingWorld, site: Site, words: str, withdrawn: bool) -> None:
    """It withdraws with evidence, and at once; no other word of an edit asks for anything."""
    address = phone()
    acting.handle(site, wrote(address))
    person = acting.person(site, address)
    given = now_ms() - 1
    person.tenant.world.apply(person.given(given))
    edit = edited(address, "m", words)
    acting.handle(site, edit)
    assert isinstance(answer(person, purpose="newsletter"), Refusal if withdrawn else Permit)
    events = acting.events(topics.CONSENTS, site)
    assert len(events) == (1 if withdrawn else 0)
    if withdrawn:
        assert (events[0].data["method"], events[0].data["purpose"]) == ("keyword", "newsletter")
        evidence = acting.plain(events[0], "evidence")
        assert (evidence["text"], evidence["sender"], evidence["kind"]) == (words, address.value, "edit")
    assert "intent" not in acting.events(topics.MESSAGES, site, "message.edited")[0].data


def test_a_contact_card_is_content(acting: ActingWorld, site: Site) -> None:
    """It names somebody who is known and somebody who is not: nobody is made, nobody is looked up, nothing of them changes."""
    address, known, unknown = phone(), phone(), phone()
    acting.handle(site, wrote(known))
    cards = {"contacts": [{"phones": [{"wa_id": known.value}, {"wa_id": unknown.value}]}]}
    before = acting.world.rows(f"select * from vault.addresses where tenant = '{site.tenant}'")
    acting.handle(site, wrote(address, text=None, kind="contacts", provider_kind="contacts", raw=cards))
    after = acting.world.rows(f"select * from vault.addresses where tenant = '{site.tenant}'")
    assert len(after) == len(before) + 1
    assert set(before) <= set(after)
    assert acting.subject(site, unknown) is None
    received = acting.events(topics.MESSAGES, site, "message.received")
    (card,) = [event for event in received if event.data["kind"] == "contacts"]
    assert card.subject == acting.subject(site, address) != acting.subject(site, known)
    assert acting.plain(card)["raw"] == cards


def test_files_and_words_under_them(acting: ActingWorld, site: Site) -> None:
    """The list of files is content; a caption is the person's words, so that STOP under a picture withdraws."""
    file = Media("image", "image/jpeg", ref="4711", name="Birne.jpg")
    message = wrote(
        phone(), text="STOP", kind="media", provider_kind="image", media=(file,), raw={"image": "4711"}
    )
    acting.handle(site, message)
    (said,) = acting.events(topics.MESSAGES, site, "message.received")
    assert (said.data["kind"], said.data["intent"]) == ("media", "stop")
    content = acting.plain(said)
    assert content["media"] == [
        {"kind": "image", "mime_type": "image/jpeg", "ref": "4711", "name": "Birne.jpg"}
    ]
    (withdrawn,) = acting.events(topics.CONSENTS, site)
    assert withdrawn.data["method"] == "keyword"


def test_who_comes_by_a_link_has_begun_to_talk(acting: ActingWorld, site: Site) -> None:
    """A message without words: the person is known, the window open; a repeat changes nothing."""
    address = phone()
    entry = InboundEntry(ACCOUNT_REF, random_id(), now_ms(), (address,), "Ada", "token-1")
    acting.handle(site, entry)
    acting.handle(site, entry)
    (said,) = acting.events(topics.MESSAGES, site)
    assert (said.data["kind"], said.data["provider_kind"]) == ("unsupported", "entry")
    assert set(acting.plain(said)) == {"provider_id", "provider_time"}
    person = acting.person(site, address)
    assert isinstance(answer(person), Permit)
    assert sample("sealpost_inbound_values_total", channel="whatsapp", kind="entry") >= 1


# ---- blocks -----------------------------------------------------------------------------------------------------------


def test_who_blocked_the_account_is_unreachable_until_they_write(acting: ActingWorld, site: Site) -> None:
    """Consents are withdrawn, the gate refuses everything; a message opens it again and gives no consent."""
    address, start = phone(), now_ms() - 10_000
    acting.handle(site, wrote(address, at_ms=start), at_ms=start)
    person = acting.person(site, address)
    person.tenant.world.apply(person.given(start))
    block = switched(address, "stop", start + 1_000)
    acting.handle(site, block, at_ms=start + 1_000)
    acting.handle(site, block, at_ms=start + 1_000)
    for more in ({}, {"kind": "template"}, {"purpose": "newsletter"}):
        assert answer(person, **more) == Refusal("unreachable", 1)
    (withdrawn,) = acting.events(topics.CONSENTS, site)
    assert withdrawn.data["method"] == "provider_preference"
    acting.handle(site, wrote(address))
    assert isinstance(answer(person), Permit)
    assert answer(person, purpose="newsletter") == Refusal("consent_withdrawn", 1)
    changed = acting.events(topics.SUBSCRIPTIONS, site, "reach.changed")
    assert [one.data["reachable"] for one in changed] == [False, True]
    acting.handle(site, wrote(address))
    assert len(acting.events(topics.SUBSCRIPTIONS, site, "reach.changed")) == 2


def test_the_end_of_a_block_gives_no_consent_and_makes_nobody_known(acting: ActingWorld, site: Site) -> None:
    """Block and end of one person in one batch; the end alone of a stranger."""
    address, stranger, start = phone(), phone(), now_ms() - 10_000
    acting.handle(
        site,
        wrote(address, at_ms=start),
        switched(address, "stop", start + 1_000),
        switched(address, "resume", start + 2_000),
    )
    person = acting.person(site, address)
    assert isinstance(answer(person), Permit)
    assert answer(person, purpose="newsletter") == Refusal("consent_withdrawn", 1)
    changed = acting.events(topics.SUBSCRIPTIONS, site, "reach.changed")
    assert [one.data["reachable"] for one in changed] == [False, True]
    before = dropped("resume")
    acting.handle(site, switched(stranger, "resume"))
    assert dropped("resume") == before + 1
    assert acting.subject(site, stranger) is None


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_block_end_and_block_in_any_order(acting: ActingWorld, order: tuple[int, ...]) -> None:
    """The last act counts, not the last news; another account of the business is not meant."""
    site, address, start = acting.site(), phone(), now_ms() - 10_000
    acting.handle(site, wrote(address, at_ms=start), at_ms=start)
    person = acting.person(site, address)
    values = [
        switched(address, word, start + 1_000 * n) for n, word in enumerate(("stop", "resume", "stop"), 1)
    ]
    for place in order:
        acting.handle(site, values[place])
    assert answer(person) == Refusal("unreachable", 1)
    assert answer(person, account="another") == Refusal("unknown_account", 1)


def failure(provider_id: str, at_ms: int, **more: Any) -> InboundStatus:
    """The provider reports by a code that she said no and is not reached."""
    base = InboundStatus(
        ACCOUNT_REF, provider_id, "failed", at_ms, error_code=1, error_class="UNREACH", opted_out=True
    )
    return replace(base, **more)


def test_a_failed_status_may_say_that_she_said_no(acting: ActingWorld, site: Site) -> None:
    """Three times delivered, one set of events: withdrawn and unreachable at once, until she writes, which gives no consent."""
    address, start, provider_id = phone(), now_ms() - 10_000, random_id()
    acting.handle(site, wrote(address, at_ms=start), at_ms=start)
    person = acting.person(site, address)
    person.tenant.world.apply(person.given(start))
    acting.send(person, provider_id=provider_id)
    status = failure(provider_id, start + 1_000)
    acting.handle(site, status)
    acting.handle(site, status, status)
    for more in ({}, {"kind": "template"}, {"purpose": "newsletter"}):
        assert answer(person, **more) == Refusal("unreachable", 1)
    (withdrawn,) = acting.events(topics.CONSENTS, site)
    (changed,) = acting.events(topics.SUBSCRIPTIONS, site, "reach.changed")
    (failed,) = acting.events(topics.STATUSES, site)
    assert (withdrawn.data["method"], changed.data["reachable"]) == ("provider_preference", False)
    assert withdrawn.data["acted_at"] == to_text(start + 1_000)
    assert changed.data["acted_at"] == to_text(reach_ended_ms(start + 1_000))
    assert {one.causationid for one in (withdrawn, changed)} == {failed.id}
    acting.handle(site, wrote(address))
    assert isinstance(answer(person), Permit)
    assert answer(person, purpose="newsletter") == Refusal("consent_withdrawn", 1)
    acting.wait(3600)
    assert len(acting.events(topics.SUBSCRIPTIONS, site, "reach.changed")) == 2


def test_a_failed_status_that_means_this_message_only(acting: ActingWorld, site: Site) -> None:
    address, provider_id = phone(), random_id()
    acting.handle(site, wrote(address))
    person = acting.person(site, address)
    acting.send(person, provider_id=provider_id)
    acting.handle(site, failure(provider_id, now_ms(), opted_out=False, message_only=True))
    assert isinstance(answer(person), Permit)
    assert acting.events(topics.CONSENTS, site) == []
    assert acting.events(topics.SUBSCRIPTIONS, site, "reach.changed") == []


def test_what_arrives_after_a_failure_ends_it(acting: ActingWorld, site: Site) -> None:
    """Another message was delivered after the failure: the account reaches her. One of before the failure tells nothing."""
    address, start, provider_ids = phone(), now_ms() - 10_000, [random_id() for _ in range(3)]
    acting.handle(site, wrote(address, at_ms=start), at_ms=start)
    person = acting.person(site, address)
    for provider_id in provider_ids:
        acting.send(person, provider_id=provider_id)
    first, failed, last = provider_ids
    acting.handle(site, failure(failed, start + 4_000))
    acting.handle(site, InboundStatus(ACCOUNT_REF, first, "delivered", start + 2_000))
    assert answer(person) == Refusal("unreachable", 1)
    later = InboundStatus(ACCOUNT_REF, last, "delivered", start + 6_000)
    acting.handle(site, later)
    acting.handle(site, later, replace(later, status="read", provider_time_ms=start + 7_000))
    assert isinstance(answer(person), Permit)
    assert answer(person, purpose="newsletter") == Refusal("consent_withdrawn", 1), "her no stays"
    changed = [e.data["reachable"] for e in acting.events(topics.SUBSCRIPTIONS, site, "reach.changed")]
    assert changed == [False, True]


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_failure_message_and_consent_in_any_order(acting: ActingWorld, order: tuple[int, ...]) -> None:
    """She writes and consents after the failure: both count, whatever is handled first."""
    site, address, start, provider_id = acting.site(), phone(), now_ms() - 10_000, random_id()
    acting.handle(site, wrote(address, at_ms=start), at_ms=start)
    person = acting.person(site, address)
    acting.send(person, provider_id=provider_id)
    acts = (
        lambda: acting.handle(site, failure(provider_id, start + 1_000)),
        lambda: acting.handle(site, wrote(address, at_ms=start + 2_000), at_ms=start + 2_000),
        lambda: person.tenant.world.apply(person.given(start + 3_000)),
    )
    for place in order:
        acts[place]()
    assert isinstance(answer(person), Permit)
    assert isinstance(answer(person, purpose="newsletter"), Permit)
    changed = [e.data["reachable"] for e in acting.events(topics.SUBSCRIPTIONS, site, "reach.changed")]
    assert changed in ([], [False, True]), "who is reached in the end is said to be, or nothing is said"


def test_of_an_erased_person_a_failed_status_notes_nothing(acting: ActingWorld, site: Site) -> None:
    address, provider_id = phone(), random_id()
    acting.handle(site, wrote(address))
    person = acting.person(site, address)
    acting.send(person, provider_id=provider_id)
    person.tenant.world.apply(person.erasure())
    acting.handle(site, failure(provider_id, now_ms()))
    for table in ("reach", "permissions"):
        assert acting.world.rows(f"select * from vault.{table} where subject = '{person.subject}'") == []
    assert acting.events(topics.CONSENTS, site) == acting.events(topics.STATUSES, site) == []


# ---- echoes, watermarks, news -----------------------------------------------------------------------------------------


def test_what_staff_wrote_is_stored_for_who_is_known(acting: ActingWorld, site: Site) -> None:
    """It opens no window and makes nobody known; what Sealpost sent itself is no echo."""
    address, own = phone(), random_id()
    acting.handle(site, edited(address, "m", "x"))
    person = acting.person(site, address)
    echo = InboundEcho(ACCOUNT_REF, random_id(), now_ms(), address, "Wir rufen an.", {"echo": 1})
    for value in (echo, echo, replace(echo, provider_id=random_id(), recipient=phone())):
        acting.handle(site, value)
    (echoed,) = acting.events(topics.MESSAGES, site, "message.echoed")
    assert echoed.subject == person.subject
    assert acting.plain(echoed)["text"] == "Wir rufen an."
    assert len(acting.events(topics.SUBSCRIPTIONS, site, "subject.created")) == 1
    assert answer(person) == Refusal("window_closed", 1)
    acting.handle(site, reacted(address, echo.provider_id, "👍"))
    (reaction,) = acting.events(topics.MESSAGES, site, "message.reacted")
    assert reaction.data["message"] == echoed.data["message"]
    acting.handle(site, wrote(address))
    acting.send(person, provider_id=own)
    before = dropped("own_echo")
    acting.handle(site, replace(echo, provider_id=own))
    assert dropped("own_echo") == before + 1
    assert dropped("unknown_recipient") >= 1
    assert len(acting.events(topics.MESSAGES, site, "message.echoed")) == 1


def test_a_watermark_is_about_everything_sent_before(acting: ActingWorld, site: Site) -> None:
    """Each message once, however many watermarks come; of another person, another moment or another end nothing is said."""
    address, other = phone(), phone()
    acting.handle(site, wrote(address), wrote(other))
    person, somebody = acting.person(site, address), acting.person(site, other)
    sent = [acting.send(person) for _ in range(2)]
    acting.send(somebody)
    refused = person.vault.permits([person.ask(purpose="newsletter")])[0]
    assert isinstance(refused, Refusal)
    first = _watermark(acting, person, "delivered")
    later = _sent_after(acting, person, first)
    acting.handle(site, first)
    acting.handle(site, first)
    acting.handle(site, replace(first, recipient=phone()))
    delivered = acting.events(topics.STATUSES, site)
    assert [e.data["message"] for e in delivered] == sent
    assert {(e.type, e.subject) for e in delivered} == {("sealpost.message.delivered.v1", person.subject)}
    second = _watermark(acting, person, "read")
    acting.handle(site, second, _watermark(acting, person, "delivered"))
    events = acting.events(topics.STATUSES, site)[2:]
    assert [(e.type.split(".")[2], e.data["message"]) for e in events] == [
        *(("read", message) for message in (*sent, later)),
        ("delivered", later),
    ]


def test_a_watermark_that_comes_before_the_outcome(acting: ActingWorld, site: Site) -> None:
    """The call is under way: it is looked for again, and an outcome that comes late is not missed."""
    address = phone()
    acting.handle(site, wrote(address))
    person = acting.person(site, address)
    message = acting.send(person, settle=False)
    acting.handle(site, _watermark(acting, person, "read"))
    assert acting.events(topics.STATUSES, site) == []
    acting.settle(person, message, random_id())
    acting.wait(3600)
    (read,) = acting.events(topics.STATUSES, site)
    assert read.data["message"] == message
    assert acting.world.parked() == 0


def _watermark(acting: ActingWorld, person: Person, status: str) -> InboundWatermark:
    """Everything that was sent by now."""
    with acting.world.vault.transaction() as cursor:
        now = acting.world.vault.clock_ms(cursor)
    return InboundWatermark(ACCOUNT_REF, now, person.address, status, now)  # type: ignore[arg-type]  # one of two words


def _sent_after(acting: ActingWorld, person: Person, mark: InboundWatermark) -> str:
    """A message whose permit is younger than the mark."""
    with acting.world.vault.transaction() as cursor:
        while acting.world.vault.clock_ms(cursor) <= mark.watermark_ms:
            pass
    return acting.send(person)


def test_news_of_templates_and_accounts(acting: ActingWorld, site: Site) -> None:
    """Settings of the tenant, once; a template that the provider took back is refused until it is approved again."""
    address = phone()
    acting.handle(site, wrote(address))
    person = acting.person(site, address)

    def told(status: str) -> None:
        news = InboundTemplateStatus(ACCOUNT_REF, random_id(), now_ms(), "offer", "de", status, "other")
        acting.handle(site, news)
        acting.handle(site, news)
        event = acting.events(topics.TENANTS, site, "tenant.template_status_changed")[-1]
        acting.world.vaults.apply(event)

    offer = {"kind": "template", "template": "offer", "language": "de"}
    for status, refused in (("approved", False), ("paused", True), ("approved", False), ("disabled", True)):
        told(status)
        found = answer(person, **offer)
        assert isinstance(found, Refusal if refused else Permit), status
        assert not refused or found == Refusal("template_not_approved", 1)
        assert isinstance(answer(person, **{**offer, "language": "en"}), Permit)
    events = acting.events(topics.TENANTS, site, "tenant.template_status_changed")
    assert [event.data["status"] for event in events] == ["approved", "paused", "approved", "disabled"]
    assert {event.subject for event in events} == {site.tenant}
    news = InboundAccountNews(ACCOUNT_REF, random_id(), now_ms(), "account_update", "disabled_update")
    acting.handle(site, news)
    acting.handle(site, news)
    (event,) = acting.events(topics.TENANTS, site, "tenant.account_news")
    assert (event.data["account"], event.data["field"]) == (site.account, "account_update")


# ---- repeats ----------------------------------------------------------------------------------------------------------


def test_a_webhook_that_comes_again_after_eight_days_writes_nothing(acting: ActingWorld, site: Site) -> None:
    """Providers repeat for a week (channel-apis): messages, changes and switches are known for longer than that."""
    address = phone()
    values = (wrote(address, text="START"), edited(address, "m", "STOP"), switched(address, "stop"))
    acting.handle(site, *values)
    before = {
        topic: len(acting.events(topic, site))
        for topic in (topics.MESSAGES, topics.CONSENTS, topics.SUBSCRIPTIONS)
    }
    late_ms = now_ms() + (8 * DAY_S + 5 * 3_600) * 1_000
    acting.handle(site, *values, at_ms=late_ms)
    assert {topic: len(acting.events(topic, site)) for topic in before} == before
