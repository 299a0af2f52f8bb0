"""All cases as one class of tests, and what holds in each of them without being asked for."""

import logging
import sys
from collections.abc import Iterator, Mapping

import pytest

from workers.channel import Channel, SkipsCases
from workers.conformance import contents
from workers.conformance.receiving import Receiving
from workers.conformance.sending import Sending
from workers.conformance.under_test import ChannelUnderTest
from workers.conformance.watch import Watch
from workers.conformance.world import address_of

SKIPPABLE: Mapping[str, str] = {
    "every_fragment_of_a_batch": "the provider never puts two facts into one webhook",
    "changed_body": "the provider's proof does not cover the body",
    "handshake": "the provider has none",
    "a_reply_is_sent_or_refused": "replies are not built yet",
    "chat_link_round_trip": "the token of a link is not read yet",
    "renderer_and_simulator_agree": "the provider's requests do not hold text as it is",
    "answer_that_is_no_json": "the provider's good answer has no body",
    "too_fast_with_a_wait": "the provider never names a wait",
    "known_opt_out_code": "the provider does not tell",
    "unreachable_person": "the provider does not tell",
    "failure_of_this_message_only": "the provider does not tell",
    "unknown_code": "the provider has no codes",
}
"""The cases that a channel may fail, and why that could be so. All others hold for every channel."""


class Conformance(Receiving, Sending):
    """The kit: `TestConformance = Conformance` in a test module that has a fixture `under_test`, which returns a
    `ChannelUnderTest`, runs every case.
    """

    @pytest.fixture(autouse=True)
    def watch(
        self,
        request: pytest.FixtureRequest,
        under_test: ChannelUnderTest,
        monkeypatch: pytest.MonkeyPatch,
        capfd: pytest.CaptureFixture[str],
    ) -> Iterator[Watch]:
        """What the channel gives a reason for must fail, else the reason is none any more; afterwards fail for what may happen in
        no case."""
        case = str(getattr(request.node, "originalname", request.node.name)).removeprefix("test_")
        reason = skipped_cases(under_test.channel).get(case)
        if reason is not None and case in SKIPPABLE:
            still = pytest.mark.xfail(
                reason=reason, strict=True, raises=(AssertionError, pytest.fail.Exception)
            )
            request.node.add_marker(still)
        watch = Watch(_secret(under_test))
        watch.guard(monkeypatch.setattr)
        root = logging.getLogger()
        level = root.level
        root.addHandler(watch)
        root.setLevel(logging.DEBUG)
        try:
            yield watch
        finally:
            root.setLevel(level)
            root.removeHandler(watch)
        written = capfd.readouterr()
        sys.stdout.write(written.out)
        sys.stderr.write(written.err)
        watch.note("what was printed", written.out + written.err)
        assert watch.findings() == []

    def test_reasons_for_skipped_cases(self, under_test: ChannelUnderTest) -> None:
        """A channel is excused from nothing but cases that can have no meaning for a provider, and says why in words."""
        skipped = skipped_cases(under_test.channel)
        assert sorted(set(skipped) - set(SKIPPABLE)) == [], (
            "there is no such case, or it holds for every channel"
        )
        assert all(len(reason.split()) > 2 for reason in skipped.values()), "a reason is a sentence"


def skipped_cases(channel: Channel) -> Mapping[str, str]:
    """Case → reason, as the channel object declares them."""
    return channel.skipped_cases if isinstance(channel, SkipsCases) else {}


def _secret(under_test: ChannelUnderTest) -> dict[str, str]:
    """What may stand nowhere in clear, by what it is."""
    return {
        "the app secret": under_test.secrets.app_secret,
        "the verify token": under_test.secrets.verify_token,
        "the access token": under_test.account.access_token,
        "the person's address": address_of(under_test).value,
        "the words that were sent": contents.WORDS,
        **{f"personal sample {number}": one for number, one in enumerate(under_test.personal, 1)},
    }
