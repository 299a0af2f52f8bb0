"""Cases about what comes in: proof, webhooks, events, tokens of links."""

import asyncio
import dataclasses
from collections.abc import Sequence
from typing import Any, get_args

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.clock import now_ms
from schemas.reasons import FailureClass
from workers.channel import (
    Accepted,
    Authenticity,
    Channel,
    Denied,
    Fragment,
    Handshake,
    InvalidLink,
    ProviderResponse,
    UnparseableBody,
    UnparseableFragment,
    WebhookRequest,
)
from workers.conformance import inputs
from workers.conformance.under_test import UNKNOWN_WORD, ChannelUnderTest
from workers.conformance.watch import Watch, WatchedChannel
from workers.conformance.world import World, address_of
from workers.inbound_values import Inbound, InboundEntry, InboundMessage, JsonObject

EXAMPLES = 200
TOKEN = "kit-Token_7d21"  # noqa: S105 - opens nothing
AN_HOUR_MS = 3_600_000
SPLIT_GROWTH_MAX = 16
"""Bytes of all fragments to those of the body: what surrounds an element may go to each fragment, as long as it is small."""
ANYTHING = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    database=None,
    print_blob=False,
)


class Receiving:
    """Cases; each is given the channel with its samples, and the watch that is kept on it."""

    def test_every_fragment_of_a_batch(self, under_test: ChannelUnderTest, watch: Watch) -> None:
        """A webhook with several facts gives each of them, in order, with the sender that they are routed by."""
        fragments = WatchedChannel(under_test.channel, watch).split(under_test.batch)
        found = [value for fragment in fragments for value in values_of(under_test.channel, watch, fragment)]
        ids = [one for value in found if (one := getattr(value, "provider_id", None)) is not None]
        assert len(under_test.batch_ids) > 1, "`batch` must hold at least two facts"
        assert ids == list(under_test.batch_ids), (
            "not every fact of `batch` came out of split() and parse(), in order"
        )
        persons = [fragment.sender_ref for fragment in fragments]
        assert all(persons), "a fragment of `batch` names no sender: it would lose its order"

    def test_every_sample_is_read(self, under_test: ChannelUnderTest, watch: Watch) -> None:
        """Each sample webhook has facts, and none of them shows in clear whom or what it is about."""
        channel = WatchedChannel(under_test.channel, watch)
        for body in under_test.bodies:
            fragments = channel.split(body)
            assert any(channel.parse(fragment.raw) for fragment in fragments), "a sample webhook says nothing"
            assert all(channel.describe(fragment.raw) for fragment in fragments), (
                "describe() says nothing of a sample"
            )

    def test_any_bytes(self, under_test: ChannelUnderTest, watch: Watch) -> None:
        """Whatever bytes come, nothing is raised but what the contract declares."""
        channel = WatchedChannel(under_test.channel, watch, spoiled=True)
        words = inputs.provider_words(inputs.read_all(under_test.bodies))
        genuine = under_test.sign(under_test.batch, under_test.secrets, now_ms())
        names = st.sampled_from(sorted({*genuine.headers, *_handshake_words(under_test), "x"}))
        texts = st.dictionaries(names, st.text(max_size=40) | words, max_size=4)

        @ANYTHING
        @given(st.binary(max_size=200), st.sampled_from(["GET", "POST", "PUT"]), texts, texts)
        def check(body: bytes, method: str, headers: dict[str, str], query: dict[str, str]) -> None:
            split_and_read(channel, body)
            verdict = channel.authenticate(WebhookRequest(method, query, headers, body), under_test.secrets)
            assert isinstance(verdict, get_args(Authenticity)), "authenticate() gives no verdict"

        check()

    def test_any_json(self, under_test: ChannelUnderTest, watch: Watch) -> None:
        """Proper webhooks and fragments, spoiled anywhere, are read or refused as declared; made-up words never become labels."""
        channel = WatchedChannel(under_test.channel, watch, spoiled=True)
        documents = inputs.read_all(under_test.bodies)
        fragments = [
            fragment.raw for body in under_test.bodies for fragment in under_test.channel.split(body)
        ]
        anything = inputs.any_json(inputs.provider_words(documents))

        @ANYTHING
        @given(inputs.spoiled(documents, anything), inputs.spoiled(fragments, anything), anything)
        def check(body: Any, raw: Any, nonsense: Any) -> None:
            split_and_read(channel, orjson.dumps(body))
            for one in (raw, nonsense):
                if isinstance(one, dict):
                    read(channel, one)

        check()

    def test_any_answer(self, under_test: ChannelUnderTest, watch: Watch) -> None:
        """Whatever the provider answers has a class, and a wait of at most a day."""
        channel = WatchedChannel(under_test.channel, watch, spoiled=True)
        samples = under_test.answers
        documents = inputs.read_all([one.body for one in samples])
        anything = inputs.any_json(inputs.provider_words(documents))
        names = st.sampled_from(sorted({"Retry-After", *(name for one in samples for name in one.headers)}))
        values = st.text(max_size=9) | anything.map(lambda found: orjson.dumps(found).decode())
        bodies = st.binary(max_size=60) | inputs.spoiled(documents, anything).map(orjson.dumps)

        @ANYTHING
        @given(st.integers(0, 999), st.dictionaries(names, values), bodies)
        def check(http: int, headers: dict[str, str], body: bytes) -> None:
            found = channel.classify(ProviderResponse(http, headers, body))
            assert found.failure_class in get_args(FailureClass), (
                "classify() gives a class that does not exist"
            )
            assert found.retry_after_s is None or 0 < found.retry_after_s <= 86_400, (
                "a wait of more than a day, or none"
            )

        check()

    def test_oversize(self, under_test: ChannelUnderTest, watch: Watch) -> None:
        """A body as large as the receiver takes does not become many times larger by being split, nor is it fatal."""
        channel = WatchedChannel(under_test.channel, watch, spoiled=True)
        bodies = [
            *inputs.oversize(),
            *(body for one in inputs.read_all([under_test.batch]) for body in inputs.grown(one)),
        ]
        for body in bodies:
            try:
                fragments = under_test.channel.split(body)
            except UnparseableBody:
                continue
            size = sum(len(orjson.dumps(fragment.raw)) for fragment in fragments)
            assert size <= SPLIT_GROWTH_MAX * len(body), "a body grows by being split"
        channel.classify(ProviderResponse(400, {}, b'{"error":"' + b"a" * inputs.GROWN_BYTES + b'"}'))

    # ---- proof

    def test_right_signature(self, under_test: ChannelUnderTest, watch: Watch) -> None:
        """A webhook signed as the provider signs it is accepted."""
        verdict = self._verdict(
            under_test, watch, under_test.sign(under_test.batch, under_test.secrets, now_ms())
        )
        assert isinstance(verdict, Accepted), "a genuine webhook is not accepted"

    def test_bad_signature(self, under_test: ChannelUnderTest, watch: Watch) -> None:
        """One that somebody else signed is refused, and every webhook is while the connection has no secret."""
        others = under_test.secrets.other(under_test.other_app_secret)
        self._refused(
            under_test,
            watch,
            under_test.sign(under_test.batch, others, now_ms()),
            "somebody else's signature",
        )
        genuine = under_test.sign(under_test.batch, under_test.secrets, now_ms())
        for name, value in genuine.headers.items():
            if self._is_proof(under_test, genuine, name):
                forged = dataclasses.replace(genuine, headers={**genuine.headers, name: _forged(value)})
                self._refused(under_test, watch, forged, "a proof of which a character was changed")
        none = dataclasses.replace(under_test.secrets, app_secret="", verify_token="")
        verdict = WatchedChannel(under_test.channel, watch).authenticate(genuine, none)
        assert isinstance(verdict, Denied), "a connection without a secret accepts a webhook"

    def test_changed_body(self, under_test: ChannelUnderTest, watch: Watch) -> None:
        """The proof of one body proves no other."""
        genuine = under_test.sign(under_test.batch, under_test.secrets, now_ms())
        self._refused(
            under_test, watch, dataclasses.replace(genuine, body=genuine.body + b" "), "another body"
        )

    def test_missing_signature(self, under_test: ChannelUnderTest, watch: Watch) -> None:
        """A webhook without proof is refused."""
        self._refused(under_test, watch, WebhookRequest("POST", {}, {}, under_test.batch), "no signature")

    def test_replayed_signature(self, under_test: ChannelUnderTest, watch: Watch) -> None:
        """The same webhook, again, gives the same ids, so that it is known as a repetition; where the provider signs a time, the
        verdict tells it or refuses an old one."""
        channel = WatchedChannel(under_test.channel, watch)
        first, again = (
            [values_of(channel, watch, one) for one in channel.split(under_test.batch)] for _ in range(2)
        )
        assert first == again, "the same webhook is read differently the second time"
        at_ms = now_ms() - AN_HOUR_MS
        verdict = channel.authenticate(
            under_test.sign(under_test.batch, under_test.secrets, at_ms), under_test.secrets
        )
        if isinstance(verdict, Denied):
            assert verdict.why == "replayed", "an old webhook is refused for another reason than its age"
        elif under_test.signs_time:
            assert isinstance(verdict, Accepted)
            assert verdict.signed_at_ms is not None, "the time that the provider signs is not told"
            assert abs(verdict.signed_at_ms - at_ms) <= 1_000, "another time is told than the provider signed"

    def test_handshake(self, under_test: ChannelUnderTest, watch: Watch) -> None:
        """The provider's handshake is answered as it wants to read it, and only for the connection that it names."""
        assert under_test.handshake is not None, "there is no sample `handshake`, and no reason for that"
        greeting = under_test.handshake(under_test.secrets)
        verdict = self._verdict(under_test, watch, greeting.request)
        assert isinstance(verdict, Handshake), "the handshake is not answered"
        assert verdict.body == greeting.answer, "the handshake is answered with other bytes"
        others = under_test.handshake(under_test.secrets.other(under_test.other_app_secret))
        assert isinstance(self._verdict(under_test, watch, others.request), Denied), (
            "somebody else's handshake is answered"
        )

    # ---- events

    def test_unknown_event(self, under_test: ChannelUnderTest, watch: Watch) -> None:
        """An event that the channel does not know is kept whole and told apart, and its name becomes no label."""
        assert UNKNOWN_WORD.encode() in under_test.unknown_event, (
            f"`unknown_event` must hold the word {UNKNOWN_WORD!r}"
        )
        channel = WatchedChannel(under_test.channel, watch)
        found = [
            value
            for one in channel.split(under_test.unknown_event)
            for value in values_of(channel, watch, one)
        ]
        kept = [
            orjson.dumps(raw).decode() for value in found if (raw := getattr(value, "raw", None)) is not None
        ]
        assert any(UNKNOWN_WORD in raw for raw in kept), "an unknown event is dropped, not kept"
        assert not any(UNKNOWN_WORD in repr(value) for value in found), (
            "the name of an unknown event stands in clear"
        )
        assert all(channel.describe(one.raw) is not None for one in channel.split(under_test.unknown_event))

    def test_chat_link_round_trip(self, under_test: ChannelUnderTest, watch: Watch) -> None:
        """Who comes through a chat link is known to come by its token, under the address that answers reach."""
        channel = WatchedChannel(under_test.channel, watch)
        if under_test.channel.capabilities.token_carrier == "none":  # noqa: S105 - names a place, is no secret
            with pytest.raises(InvalidLink):
                channel.chat_link(under_test.account.number, TOKEN)
            return
        link = channel.chat_link(under_test.account.number, TOKEN)
        follow = under_test.follow
        assert follow is not None, (
            "there is no sample `follow`, though the channel declares where a token comes back"
        )
        with pytest.raises(InvalidLink):
            channel.chat_link(under_test.account.number, "a token with spaces")

        async def come() -> WebhookRequest:
            async with World(under_test, watch) as world:
                await world.does(follow(link))
                return await world.posted()

        request = asyncio.run(come())
        assert isinstance(channel.authenticate(request, under_test.secrets), Accepted), (
            "the simulator signs otherwise"
        )
        values = [value for one in channel.split(request.body) for value in values_of(channel, watch, one)]
        came = [value for value in values if isinstance(value, InboundMessage | InboundEntry)]
        assert any(_carries(value, TOKEN) for value in came), "the token of the link does not come back"
        assert any(address_of(under_test) in value.addresses for value in came), (
            "the person comes under another address"
        )

    def _verdict(self, under_test: ChannelUnderTest, watch: Watch, request: WebhookRequest) -> Authenticity:
        return WatchedChannel(under_test.channel, watch).authenticate(request, under_test.secrets)

    def _refused(
        self, under_test: ChannelUnderTest, watch: Watch, request: WebhookRequest, what: str
    ) -> None:
        verdict = self._verdict(under_test, watch, request)
        assert isinstance(verdict, Denied), f"{what} is accepted"
        assert 400 <= verdict.status < 500, (
            "a webhook is refused with a status that makes the provider repeat it"
        )

    def _is_proof(self, under_test: ChannelUnderTest, genuine: WebhookRequest, name: str) -> bool:
        """True for a header without which the webhook is not accepted."""
        without = {key: value for key, value in genuine.headers.items() if key != name}
        verdict = under_test.channel.authenticate(
            dataclasses.replace(genuine, headers=without), under_test.secrets
        )
        return not isinstance(verdict, Accepted)


def values_of(channel: Channel, watch: Watch, fragment: Fragment) -> list[Inbound]:
    """What a fragment of a sample says; an error where it cannot be understood."""
    looked_at = channel if isinstance(channel, WatchedChannel) else WatchedChannel(channel, watch)
    return looked_at.parse(fragment.raw)


def split_and_read(channel: Channel, body: bytes) -> None:
    """A body, if it is one, gives fragments that can be written, read and described."""
    try:
        fragments = channel.split(body)
    except UnparseableBody:
        return
    for fragment in fragments:
        orjson.dumps(fragment.raw)
        read(channel, fragment.raw)


def read(channel: Channel, raw: JsonObject) -> None:
    """A fragment gives typed values, or is refused as declared; describe() gives what can be written."""
    orjson.dumps(channel.describe(raw))
    try:
        values = channel.parse(raw)
    except UnparseableFragment:
        return
    for value in values:
        assert isinstance(value, get_args(Inbound)), "parse() gives a value that is none"
        addresses = getattr(value, "addresses", None)
        assert addresses != (), "parse() gives a value of a person without an address"
        known = all(channel.read_address(one.value) == one for one in addresses or ())
        assert known, "parse() gives an address that read_address() does not read"
        assert getattr(value, "provider_id", None) != "", "parse() gives an empty provider_id"
        labels = [
            getattr(value, name, "") for name in ("field", "provider_kind", "event", "status", "reason")
        ]
        assert not any(inputs.MARK in str(label) for label in labels), "a word from outside becomes a label"


def _forged(proof: str) -> str:
    """Another character in its later half, away from an end whose last bits may stand for nothing."""
    at = len(proof) * 3 // 4
    return proof[:at] + ("A" if proof[at] != "A" else "B") + proof[at + 1 :]


def _carries(value: InboundMessage | InboundEntry, token: str) -> bool:
    return value.token == token or (isinstance(value, InboundMessage) and token in value.words)


def _handshake_words(under_test: ChannelUnderTest) -> Sequence[str]:
    if under_test.handshake is None:
        return ()
    request = under_test.handshake(under_test.secrets).request
    return (*request.query, *request.headers)
