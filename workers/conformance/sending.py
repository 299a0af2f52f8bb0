"""Cases about what goes out: content, limits, parts, and every way in which a call can end."""

import asyncio
import dataclasses
from collections.abc import Sequence
from typing import get_args

import pytest

from schemas.content import Content, ContentKind, TextContent
from workers.channel import Failed, ProviderResponse, Submitted, Unclear, UnsupportedContent
from workers.conformance import contents
from workers.conformance.scripted import Break
from workers.conformance.under_test import TOO_FAST_WAIT_S, ChannelUnderTest
from workers.conformance.watch import Watch, WatchedChannel
from workers.conformance.world import Deliveries, World, answered
from workers.inbound_values import InboundStatus, InboundWatermark, made_word
from workers.outbound.provider import Attempted, NoAnswer, NotSent
from workers.parts import cut

NOT_JSON = b"<html><body>Bad gateway</body></html>"
SENTENCE = f"{contents.WORDS} Ein Satz mit Umlauten: äöü. "
KINDS: tuple[ContentKind, ...] = get_args(ContentKind)
RECEIPTS = ("sent", "delivered", "read", "played")
"""Those that a message has which arrives; a failure is not one of them."""


class Sending:
    """Cases; each is given the channel with its samples, and the watch that is kept on it."""

    @pytest.mark.parametrize("kind", KINDS)
    def test_each_kind_is_sent_or_refused(
        self, under_test: ChannelUnderTest, watch: Watch, kind: ContentKind
    ) -> None:
        """A kind of content that the channel declares is taken by the simulator; another is refused before any call."""
        limits = under_test.channel.capabilities
        content = under_test.contents.get(kind) or contents.of_kind(kind, limits)
        self._sent_or_refused(under_test, watch, kind, content, declared=kind in limits.content_kinds)

    def test_a_reply_is_sent_or_refused(self, under_test: ChannelUnderTest, watch: Watch) -> None:
        """A text that answers a message of the person, where the channel can show that; refused where it cannot."""
        declared = under_test.channel.capabilities.replies
        self._sent_or_refused(
            under_test,
            watch,
            "a reply",
            TextContent(text=contents.WORDS, in_reply_to="kit-reply"),
            declared=declared,
        )

    def test_an_act_is_answered(self, under_test: ChannelUnderTest, watch: Watch) -> None:
        """A text that answers an act of a declared word arrives, also where the provider does not know the act any more."""
        for word in sorted(under_test.channel.capabilities.answerable_acts):
            content = TextContent(text=contents.WORDS, in_reply_to=f"{word}:kit")
            self._sent_or_refused(under_test, watch, f"an answer to {word}", content, declared=True)

    def test_as_much_as_is_declared(self, under_test: ChannelUnderTest, watch: Watch) -> None:
        """Every declared kind of file, and as many buttons and rows as are declared, are taken by the simulator."""
        for what, content in contents.most_of(under_test.channel.capabilities):
            self._sent_or_refused(under_test, watch, what, content, declared=True)

    def test_more_than_is_declared(self, under_test: ChannelUnderTest, watch: Watch) -> None:
        """Kinds of files, buttons, rows, captions and descriptions that are not declared are refused before any call."""
        for what, content in contents.too_many(under_test.channel.capabilities):
            self._sent_or_refused(under_test, watch, what, content, declared=False)

    def test_renderer_and_simulator_agree(self, under_test: ChannelUnderTest, watch: Watch) -> None:
        """What uses up a limit of the channel is taken by the simulator; what is one above it both refuse."""

        async def run() -> None:
            async with World(under_test, watch) as world:
                await world.says(contents.WORDS)
                for one in contents.limited(under_test.channel.capabilities):
                    attempted = await world.deliveries.send(one.at)
                    assert isinstance(attempted, Submitted), (
                        f"{one.field}: the simulator refuses what is declared"
                    )
                    assert _refuses(world.deliveries, one.above), (
                        f"{one.field}: deliver() sends more than is declared"
                    )
                    request = world.deliveries.first_request(one.at)
                    filler = one.filler.encode()
                    assert filler in request.body, f"{one.field}: the first request does not hold it as it is"
                    longer = dataclasses.replace(
                        request, body=request.body.replace(filler, filler + filler[:1])
                    )
                    answer = await world.raw(longer)
                    outcome = under_test.channel.classify(answer)
                    assert answer.status // 100 != 2, (
                        f"{one.field}: the simulator takes more than is declared"
                    )
                    assert outcome.failure_class not in ("RETRY", "RATE"), (
                        f"{one.field}: it would be sent again"
                    )

        asyncio.run(run())

    def test_each_receipt_is_reported(self, under_test: ChannelUnderTest, watch: Watch) -> None:
        """Every declared receipt of a message comes back as a status of that message, with our id where that is declared."""
        limits = under_test.channel.capabilities
        wanted = tuple(word for word in RECEIPTS if word in limits.receipts)
        channel = WatchedChannel(under_test.channel, watch)

        echoed: set[bool] = set()

        async def run() -> None:
            async with World(under_test, watch, wanted) as world:
                await world.says(contents.WORDS)
                await world.posted()
                sent = await world.deliveries.send(self._text())
                assert isinstance(sent, Submitted)
                missing = set(wanted)
                while missing:
                    for value in _receipts_in(channel, (await world.posted()).body):
                        missing.discard(value.status)
                        if isinstance(value, InboundStatus):
                            assert value.provider_id == sent.provider_id, (
                                "a receipt names another message than was sent"
                            )
                            assert value.echo in (None, world.deliveries.echo()), (
                                "another id comes back than went along"
                            )
                            echoed.add(value.echo is not None)

        asyncio.run(run())
        assert True in echoed or not (wanted and limits.echoes_our_id), "our id comes back in no receipt"

    # ---- parts

    def test_text_over_the_limit(self, under_test: ChannelUnderTest, watch: Watch) -> None:
        """A text over the limit is refused whole; cut, every part arrives, in order, and nothing of it is lost."""
        text, parts = self._long_text(under_test)

        async def run() -> list[str]:
            async with World(under_test, watch) as world:
                await world.says(contents.WORDS)
                assert _refuses(world.deliveries, TextContent(text=text)), (
                    "deliver() takes a text over the limit"
                )
                for number, part in enumerate(parts):
                    attempted = await world.deliveries.send(TextContent(text=part), number)
                    assert isinstance(attempted, Submitted), f"part {number + 1} of {len(parts)} is not taken"
                return await world.arrived()

        assert asyncio.run(run()) == parts, "the parts that arrived are not those that were sent"

    def test_failure_at_part_two(self, under_test: ChannelUnderTest, watch: Watch) -> None:
        """A part that fails is told apart from those before and behind it, and can be sent again by itself."""
        _, parts = self._long_text(under_test)

        async def run() -> list[str]:
            async with World(under_test, watch) as world:
                await world.says(contents.WORDS)
                assert isinstance(await world.deliveries.send(TextContent(text=parts[0]), 0), Submitted)
                await world.fail_next(503)
                failed = await world.deliveries.send(TextContent(text=parts[1]), 1)
                assert isinstance(failed, Failed), (
                    "part 2 is answered 503, and deliver() does not say that it failed"
                )
                for number in (1, 2):
                    assert isinstance(
                        await world.deliveries.send(TextContent(text=parts[number]), number), Submitted
                    )
                return await world.arrived()

        assert asyncio.run(run()) == parts, "the parts that arrived are not those that were sent"

    # ---- ends of a call

    def test_too_fast_with_a_wait(self, under_test: ChannelUnderTest, watch: Watch) -> None:
        """The provider says slow down, and for how long."""
        found = self._after(under_test, watch, under_test.too_fast)
        assert isinstance(found, Failed)
        assert (found.failure_class, found.retry_after_s) == ("RATE", TOO_FAST_WAIT_S)

    def test_too_fast_without_a_wait(self, under_test: ChannelUnderTest, watch: Watch) -> None:
        """The provider says slow down, and no more."""
        found = self._after(under_test, watch, ProviderResponse(429, {}, b""))
        assert isinstance(found, Failed)
        assert (found.failure_class, found.retry_after_s) == ("RATE", None)

    @pytest.mark.parametrize("http", [500, 502, 503, 504])
    def test_server_error(self, under_test: ChannelUnderTest, watch: Watch, http: int) -> None:
        """A server's own failure is repeated, or nobody knows what became of the message; it is never the message's end."""
        found = self._after(under_test, watch, ProviderResponse(http, {}, b""))
        assert isinstance(found, Unclear) or (isinstance(found, Failed) and found.failure_class == "RETRY")

    def test_connection_reset(self, under_test: ChannelUnderTest, watch: Watch) -> None:
        """The connection breaks behind the request: nobody knows."""
        assert isinstance(self._after(under_test, watch, "reset"), NoAnswer)

    def test_connection_refused(self, under_test: ChannelUnderTest, watch: Watch) -> None:
        """Nobody listens: surely not sent."""
        deliveries = Deliveries(under_test, under_test.channel, "http://127.0.0.1:1")
        assert asyncio.run(deliveries.send(self._text())) == NotSent("refused")

    def test_timeout_after_the_request_was_written(self, under_test: ChannelUnderTest, watch: Watch) -> None:
        """The provider has the request and says nothing: nobody knows."""
        assert isinstance(self._after(under_test, watch, "silence"), NoAnswer)

    def test_answer_that_is_no_json(self, under_test: ChannelUnderTest, watch: Watch) -> None:
        """A page of a proxy in front of the provider, with a good status: nobody knows."""
        found = self._after(under_test, watch, ProviderResponse(200, {"Content-Type": "text/html"}, NOT_JSON))
        assert isinstance(found, Unclear)

    def test_error_that_is_no_json(self, under_test: ChannelUnderTest, watch: Watch) -> None:
        """The same with a status that refuses: not sent."""
        found = self._after(under_test, watch, ProviderResponse(400, {"Content-Type": "text/html"}, NOT_JSON))
        assert isinstance(found, Failed)

    def test_known_opt_out_code(self, under_test: ChannelUnderTest, watch: Watch) -> None:
        """The provider says that this person wants no messages: her consents end, and no account is at fault."""
        found = self._unreached(under_test, watch, "opted_out", under_test.opted_out)
        assert found.opted_out, "nothing that needs her consent is withdrawn"

    def test_unreachable_person(self, under_test: ChannelUnderTest, watch: Watch) -> None:
        """The provider says that the account does not reach this person: nothing more is sent until she writes."""
        found = self._unreached(under_test, watch, "unreachable", under_test.unreachable)
        assert not found.message_only, "the next message is sent to her all the same"

    def test_failure_of_this_message_only(self, under_test: ChannelUnderTest, watch: Watch) -> None:
        """The provider does not take this message to this person, and would take another: she stays within reach."""
        found = self._unreached(under_test, watch, "message_only", under_test.message_only)
        assert found.message_only, "she gets nothing any more until she writes"

    def test_unknown_code(self, under_test: ChannelUnderTest, watch: Watch) -> None:
        """The provider refuses for a reason that the channel does not know: this message ends, no other is held up."""
        assert under_test.unknown_code is not None, (
            "there is no sample `unknown_code`, and no reason for that"
        )
        found = self._after(under_test, watch, under_test.unknown_code)
        assert isinstance(found, Failed)
        assert found.failure_class == "PERM"

    # ---- pieces

    def _text(self) -> TextContent:
        return TextContent(text=contents.WORDS)

    def _unreached(
        self, under_test: ChannelUnderTest, watch: Watch, name: str, answer: ProviderResponse | None
    ) -> Failed:
        assert answer is not None, f"there is no sample `{name}`, and no reason for that"
        found = self._after(under_test, watch, answer)
        assert isinstance(found, Failed)
        assert (found.failure_class, found.alarm) == ("UNREACH", False)
        return found

    def _after(
        self, under_test: ChannelUnderTest, watch: Watch, answer: ProviderResponse | Break
    ) -> Attempted:
        return asyncio.run(answered(under_test, watch, self._text(), [answer]))

    def _long_text(self, under_test: ChannelUnderTest) -> tuple[str, Sequence[str]]:
        """A text of three parts."""
        limits = under_test.channel.capabilities
        size = limits.text_max_bytes or limits.text_max_characters
        text = (SENTENCE * (size * 5 // 2 // len(SENTENCE) + 1)).strip()[: size * 5 // 2]
        spans = cut(text, limits.text_max_characters, limits.text_max_bytes)
        assert len(spans) > 2, "the channel's limit is too small for the kit's text"
        return text, [text[start:stop] for start, stop in spans]

    def _sent_or_refused(
        self, under_test: ChannelUnderTest, watch: Watch, what: str, content: Content, *, declared: bool
    ) -> None:
        async def run() -> Attempted:
            async with World(under_test, watch) as world:
                said = await world.says(contents.WORDS)
                return await world.deliveries.send(_answering(content, said))

        if not declared:
            deliveries = Deliveries(under_test, under_test.channel, "http://127.0.0.1:1")
            assert _refuses(deliveries, content), f"{what}: is not declared, and deliver() does not refuse it"
            return
        assert isinstance(asyncio.run(run()), Submitted), (
            f"{what}: is declared, and the simulator does not take it"
        )


def _receipts_in(channel: WatchedChannel, body: bytes) -> list[InboundStatus | InboundWatermark]:
    """Receipts of one message, and of all up to a time."""
    values = [value for fragment in channel.split(body) for value in channel.parse(fragment.raw)]
    return [value for value in values if isinstance(value, InboundStatus | InboundWatermark)]


def _refuses(deliveries: Deliveries, content: Content) -> bool:
    """True when the channel refuses before any call."""
    try:
        deliveries.first_request(content)
    except UnsupportedContent:
        return True
    return False


def _answering(content: Content, said: str) -> Content:
    """The content, with the id of what the person just wrote where it names a message."""
    if content.type == "read_mark":
        return content.model_copy(update={"of": said})
    if content.type != "template" and content.in_reply_to and made_word(content.in_reply_to) is None:
        return content.model_copy(update={"in_reply_to": said})
    return content
