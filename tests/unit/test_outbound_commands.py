"""Commands in, words and status events out; nothing personal in clear."""

from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from schemas import clock, ids, topics
from schemas.content import TemplateContent, TextContent
from schemas.envelope import Event, InvalidEvent, SealedBlock
from schemas.events import registry
from schemas.events.consents import ConfirmationSent, ConsentWithdrawn
from schemas.events.statuses import MessageFailed, MessageRejected, MessageSubmitted
from schemas.events.subscriptions import ReachChanged
from schemas.settings import Notice, TenantSettings
from schemas.texts import TEXTS
from streams.step.contract import Output
from tests.outbound_commands import (
    TENANT,
    Person,
    own_text_command,
    record_of,
    template_command,
    text_command,
)
from vault.outcomes import Corrupt, Plain
from vault.sealing import SealContext, open_block
from workers import registry as channels
from workers.outbound import about_person, rendering, statuses
from workers.outbound.commands import Message, decode
from workers.outbound.sender import permit_request
from workers.outbound.statuses import Verdict

PERSON = Person("a" * 32, b"k" * 32, "2026-11")
NOTICES = {
    "de": Notice("n1", 2, "de", "https://example.org/datenschutz"),
    "en": Notice("n2", 1, "en", "https://example.org/privacy"),
}
FORMER = Notice("n1", 1, "de", "https://example.org/datenschutz-2025")
SETTINGS = TenantSettings(
    TENANT, name="Bäckerei Müller", notices=NOTICES, notice_history={FORMER.reference: FORMER}
)


def sealer_of(message: Message) -> statuses.Sealer:
    def seal(event_id: str, event_type: str, _: int, personal: Mapping[str, str]) -> SealedBlock:
        return rendering.seal_personal(message, event_id, event_type, PERSON.gen, PERSON.key, personal)

    return seal


def written(message: Message, verdict: Verdict, attempt: int = 1) -> tuple[Output, ...]:
    return statuses.outputs(
        message,
        verdict,
        purposes=("newsletter", "offers"),
        attempt=attempt,
        at_ms=1_790_000_000_123,
        id_key=b"i" * 32,
        sealer=sealer_of(message),
    )


def test_a_command_is_read_with_its_lane_and_times() -> None:
    event = text_command(PERSON, "hello")
    message = decode(record_of(event, bulk=True))
    assert message.lane == ("wa-main", PERSON.subject, True)
    assert message.expires_ms - message.requested_ms == 3_600_000
    assert "hello" not in repr(message)
    assert decode(record_of(event)).lane == ("wa-main", PERSON.subject, False)


def _broken(event: Event, **data: Any) -> Event:
    return event.model_copy(update={"data": event.data | data})


@pytest.mark.parametrize(
    "event",
    [
        _broken(text_command(PERSON, "x"), message="short"),
        _broken(text_command(PERSON, "x"), message="20261399" + "a" * 24),
        _broken(text_command(PERSON, "x"), expires="tomorrow"),
        _broken(text_command(PERSON, "x"), sealed=None),
        _broken(own_text_command(PERSON), text=None),
        _broken(text_command(PERSON, "x"), unknown=1),
        _broken(text_command(PERSON, "x"), part=1),
        _broken(text_command(PERSON, "x"), parts=2),
        _broken(text_command(PERSON, "x"), parts=2, text_from=0),
        _broken(text_command(PERSON, "x"), parts=2, text_from=1, text_to=1),
        _broken(text_command(PERSON, "x"), parts=2, text_from=-1, text_to=1),
        _broken(template_command(PERSON, "x"), parts=2, text_from=0, text_to=1),
        text_command(PERSON, "x").model_copy(update={"channel": None}),
        text_command(PERSON, "x").model_copy(update={"type": "sealpost.message.requested.v1"}),
    ],
)
def test_what_is_no_send_command_is_refused(event: Event) -> None:
    with pytest.raises(InvalidEvent):
        decode(record_of(event))


def test_a_part_is_its_span_of_the_text_and_only_the_first_shows_what_it_answers() -> None:
    whole = text_command(PERSON, "Grüß dich", in_reply_to="wamid.1")

    def said(part: int, start: int, stop: int) -> Any:
        message = decode(record_of(_broken(whole, part=part, parts=2, text_from=start, text_to=stop)))
        assert message.block is not None
        return rendering.open_content(message, message.block, PERSON.key)

    assert said(0, 0, 4) == Plain(TextContent(text="Grüß", in_reply_to="wamid.1"))
    assert said(1, 5, 9) == Plain(TextContent(text="dich"))
    assert said(1, 5, 10) == Corrupt("content")
    assert said(1, 4, 5) == Corrupt("content"), "a part of which nothing is seen is no content"


def test_content_opens_as_what_it_is_and_only_with_its_key() -> None:
    message = decode(record_of(text_command(PERSON, "Grüß dich")))
    assert message.block is not None
    assert rendering.open_content(message, message.block, PERSON.key) == Plain(TextContent(text="Grüß dich"))
    assert isinstance(rendering.open_content(message, message.block, b"x" * 32), Corrupt)
    template = decode(record_of(template_command(PERSON, "news")))
    assert template.block is not None
    opened = rendering.open_content(template, template.block, PERSON.key)
    assert opened == Plain(TemplateContent(name="news", language="de", variables=["Ada"]))


PAGE = "https://chat.example.org/optin/preferences/t/key"


@pytest.mark.parametrize("language", ["de", "en"])
@pytest.mark.parametrize("text", sorted(TEXTS))
def test_every_own_text_is_rendered_in_its_language(text: str, language: str) -> None:
    message = decode(record_of(own_text_command(PERSON, text, language, purpose="newsletter")))
    content = rendering.own_text(message, SETTINGS, PAGE)
    assert content is not None
    assert "{" not in content.text
    if text == "consent_question":
        assert NOTICES[language].url in content.text
        assert "Bäckerei Müller" in content.text
    if text == "preferences":
        assert PAGE in content.text
        assert rendering.own_text(message, SETTINGS) is None, "no words that lead nowhere"


def test_the_notice_a_command_names_is_shown_and_without_one_nothing_is_rendered() -> None:
    message = decode(record_of(own_text_command(PERSON, "consent_question", "de", notice=FORMER.reference)))
    content = rendering.own_text(message, SETTINGS, PAGE)
    assert content is not None
    assert FORMER.url in content.text
    assert rendering.own_text(message, TenantSettings(TENANT, name="x")) is None
    unknown = decode(record_of(own_text_command(PERSON, "no_such_text")))
    assert rendering.own_text(unknown, SETTINGS) is None


def test_a_submitted_status_holds_the_providers_id_sealed_only() -> None:
    message = decode(record_of(text_command(PERSON, "hello", purpose="service")))
    (output,) = written(message, Verdict(MessageSubmitted, provider_id="wamid.HBgM491511234"))
    assert (output.topic, output.key) == (topics.STATUSES, PERSON.subject.encode())
    assert b"wamid" not in output.value
    event = Event.from_bytes(output.value)
    data = registry.read(event)
    assert isinstance(data, MessageSubmitted)
    assert (data.message, data.part, data.attempt) == (message.command.message, 0, 1)
    assert event.causationid == message.event.id
    block = event.block("content")
    assert block is not None
    context = SealContext(TENANT, PERSON.subject, event.id, event.type, "content", PERSON.gen)
    opened = open_block(PERSON.key, context, block)
    assert isinstance(opened, Plain)
    assert orjson.loads(opened.value) == {"provider_id": "wamid.HBgM491511234"}


def test_ids_come_from_command_and_attempt() -> None:
    message = decode(record_of(text_command(PERSON, "hello")))
    verdict = Verdict(MessageRejected, reason="no_consent")
    first, again = written(message, verdict), written(message, verdict)
    assert first == again, "nothing personal: the same bytes"
    assert Event.from_bytes(first[0].value).id == ids.event_id(
        b"i" * 32, message.event.id, "outbound", "rejected.1"
    )
    assert Event.from_bytes(written(message, verdict, 2)[0].value).id != Event.from_bytes(first[0].value).id
    assert Event.from_bytes(first[0].value).time == clock.to_text(1_790_000_000_123)


def test_the_question_is_followed_by_confirmation_sent_once_the_provider_took_it() -> None:
    asked: dict[str, Any] = {"on_submitted": "confirmation_sent", "optin": "b" * 32}
    event = own_text_command(PERSON, purpose="service", about="newsletter", **asked)
    message = decode(record_of(event))
    status, confirmation = written(message, Verdict(MessageSubmitted, provider_id="wamid.1"))
    assert (status.topic, confirmation.topic) == (topics.STATUSES, topics.CONSENTS)
    sent = registry.read(Event.from_bytes(confirmation.value))
    assert isinstance(sent, ConfirmationSent)
    assert (sent.optin, sent.purpose, sent.message) == ("b" * 32, "newsletter", message.command.message)
    assert Event.from_bytes(confirmation.value).block("content") is not None
    assert len(written(message, Verdict(MessageRejected, reason="window_closed"))) == 1


PERMITTED_MS = 1_790_000_000_001
CALLED_AT, BEFORE_THAT_SECOND = "2026-09-21T14:13:20.001Z", "2026-09-21T14:13:19.999Z"


def test_what_is_said_about_the_person_stands_before_the_status() -> None:
    """Withdrawals of all purposes, then the reach, then the status: of the time of the call or of before its second, caused by
    the command, with ids of the attempt."""
    event = text_command(PERSON, "hello")
    message = decode(record_of(event))
    verdict = Verdict(
        MessageFailed, "UNREACH", 403, opted_out=True, unreached=True, permitted_ms=PERMITTED_MS
    )
    outputs = written(message, verdict)
    events = [Event.from_bytes(output.value) for output in outputs]
    assert [output.topic for output in outputs] == [
        topics.CONSENTS, topics.CONSENTS, topics.SUBSCRIPTIONS, topics.STATUSES,
    ]  # fmt: skip
    assert [registry.read(one) for one in events[:3]] == [
        ConsentWithdrawn(purpose="newsletter", method="provider_preference", acted_at=CALLED_AT),
        ConsentWithdrawn(purpose="offers", method="provider_preference", acted_at=CALLED_AT),
        ReachChanged(account=message.command.account, reachable=False, acted_at=BEFORE_THAT_SECOND),
    ]
    assert {(one.causationid, one.subject) for one in events} == {(event.id, PERSON.subject)}
    assert written(message, verdict) == outputs
    again = {Event.from_bytes(output.value).id for output in written(message, verdict, attempt=2)}
    assert len(again | {one.id for one in events}) == 8


@pytest.mark.parametrize(
    ("about", "kinds"),
    [
        ({}, [topics.STATUSES]),
        ({"opted_out": True}, [topics.CONSENTS, topics.CONSENTS, topics.STATUSES]),
        ({"unreached": True}, [topics.SUBSCRIPTIONS, topics.STATUSES]),
    ],
)
def test_only_what_the_answer_says_is_written(about: dict[str, Any], kinds: list[str]) -> None:
    message = decode(record_of(text_command(PERSON, "hello")))
    verdict = Verdict(MessageFailed, "UNREACH", 403, permitted_ms=PERMITTED_MS, **about)
    outputs = written(message, verdict)
    assert [output.topic for output in outputs] == kinds
    assert about_person.concerns(outputs) == bool(about)


def test_without_a_key_what_is_personal_is_left_out() -> None:
    message = decode(record_of(text_command(PERSON, "hello")))
    outputs = statuses.outputs(
        message,
        Verdict(MessageSubmitted, provider_id="wamid.1"),
        purposes=(),
        attempt=1,
        at_ms=0,
        id_key=b"i" * 32,
        sealer=lambda *_: None,
    )
    event = Event.from_bytes(outputs[0].value)
    assert "sealed" not in event.data
    assert b"wamid" not in outputs[0].value


def test_a_confirmation_is_added_where_inbound_settled_in_our_place() -> None:
    """The stored outcome of an echo has no ConfirmationSent; it is added once, with the same bytes each time."""
    asked: dict[str, Any] = {"on_submitted": "confirmation_sent", "optin": "c" * 32}
    event = own_text_command(PERSON, purpose="service", about="newsletter", **asked)
    message = decode(record_of(event))
    whole = written(message, Verdict(MessageSubmitted, provider_id="wamid.x"))
    stored = tuple(output for output in whole if output.topic == topics.STATUSES)
    added = statuses.with_confirmation(message, stored, b"i" * 32)
    assert added == statuses.with_confirmation(message, stored, b"i" * 32)
    assert added[:-1] == stored
    sent = registry.read(Event.from_bytes(added[-1].value))
    assert isinstance(sent, ConfirmationSent)
    assert sent.purpose == "newsletter"
    assert statuses.with_confirmation(message, added, b"i" * 32) == added
    assert statuses.with_confirmation(message, whole, b"i" * 32) == whole
    refused = written(message, Verdict(MessageRejected, reason="no_dpa"))
    assert statuses.with_confirmation(message, refused, b"i" * 32) == refused


def test_only_where_a_channel_knows_a_window_a_text_needs_it_open() -> None:
    """A template never does."""
    text, own, template = (
        decode(record_of(event))
        for event in (text_command(PERSON, "x"), own_text_command(PERSON), template_command(PERSON, "x"))
    )

    def kinds(name: str) -> list[str]:
        channel = channels.channel(name)
        return [permit_request(message, "token", channel).kind for message in (text, own, template)]

    assert kinds("whatsapp") == ["free_form", "free_form", "template"]
    assert kinds("telegram") == ["template", "template", "template"]
