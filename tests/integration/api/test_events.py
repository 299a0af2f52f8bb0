"""The event feed: who sees what, what is opened for whom, and that nobody is left out in silence."""

import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import orjson
import pytest

from deploy.event_commands import events_of
from projections.log import feed
from schemas.clock import now_ms, to_ms, to_text
from schemas.ids import random_id
from schemas.topics import CONSENTS, MESSAGES, SUBSCRIPTIONS, Topic
from streams.kafka import admin
from streams.kafka.tail import LogTail
from streams.step.contract import Output
from tests.api_world import ApiWorld, Person, Tenant
from tests.step_world import await_until

Found = dict[str, Any]
SLOW = "test.slow"
LATE_MS = 1_000
"""An event may land that much later than it was written."""


def stream(world: ApiWorld, token: str, **query: object) -> Any:
    """An open feed, or the HTTPError it is refused with."""
    request = Request(
        f"{world.url}/v1/events?{urlencode(query, doseq=True)}", headers={"Authorization": f"Bearer {token}"}
    )
    return urlopen(request, timeout=60)


def read(world: ApiWorld, token: str, **query: object) -> list[Found]:
    """Everything up to the end of the log."""
    with stream(world, token, **{"follow": "false", **query}) as answer:
        return [found for kind, found in events_of(answer) if kind == "message"]


def refusal(world: ApiWorld, token: str, **query: object) -> int:
    """The status of a refusal."""
    with pytest.raises(HTTPError) as caught:
        stream(world, token, **query)
    caught.value.close()
    return caught.value.code


@pytest.fixture(scope="module")
def person(tenant: Tenant) -> Person:
    """Somebody who has introduced themselves, signed up and written."""
    made = tenant.person("Ada Birnbaum")
    made.introduce()
    made.sign_up("JA")
    made.write("Sind Birnen da?")
    return made


def test_the_admin_sees_all_tenants_and_no_word(world: ApiWorld, tenant: Tenant, person: Person) -> None:
    other = world.tenant().person()
    other.introduce()
    found = read(world, world.admin)
    assert {tenant.name, other.tenant.name} <= {one["tenant"] for one in found}
    assert {SUBSCRIPTIONS, CONSENTS, MESSAGES} <= {one["topic"] for one in found}
    assert "Birnen" not in str(found)
    assert person.address.value not in str(found)
    places = [(one["topic"], one["partition"], one["offset"]) for one in found]
    assert len(places) == len(set(places))
    for part in {place[:2] for place in places}:
        offsets = [offset for topic, number, offset in places if (topic, number) == part]
        assert offsets == sorted(offsets)


def test_a_tenant_sees_its_own(world: ApiWorld, tenant: Tenant, person: Person) -> None:
    world.tenant().person().introduce()
    found = read(world, tenant.tokens["agent"])
    assert {one["tenant"] for one in found} == {tenant.name}
    assert {one["subject"] for one in read(world, tenant.tokens["agent"], subject=person.subject)} == {
        person.subject
    }
    kinds = {one["type"] for one in read(world, tenant.tokens["agent"], type="consent")}
    assert kinds
    assert all(kind.startswith("consent.") for kind in kinds)
    later = to_text(now_ms() + 60_000)
    assert read(world, tenant.tokens["agent"], **{"from": later}) == []
    assert len(read(world, tenant.tokens["agent"], limit=2)) == 2


def test_opening_needs_role_and_reason(world: ApiWorld, tenant: Tenant, person: Person) -> None:
    agent = tenant.tokens["agent"]
    assert refusal(world, world.admin, open="true", reason="T-4711") == 403
    assert refusal(world, agent, open="true") == 422
    for words in ("because Ada Birnbaum asked", "4917012345678", "Ada.Birnbaum"):
        assert refusal(world, agent, open="true", reason=words) == 422
    assert refusal(world, tenant.tokens["producer"]) == 403
    assert refusal(world, agent, topic="nonsense") == 422
    assert refusal(world, agent, **{"from": "yesterday"}) == 422
    assert refusal(world, "no token") == 401
    found = read(world, agent, open="true", reason="T-4711", subject=person.subject, topic="messages")
    assert [
        one["opened"]["content"]["text"] for one in found if one["type"].startswith("message.received")
    ] == ["Sind Birnen da?"]


def test_what_is_erased_is_not_opened(world: ApiWorld, tenant: Tenant) -> None:
    """At once, though the keys are still leased by the process that opened them a moment ago."""
    somebody = tenant.person()
    somebody.write("Guten Tag")
    query = {"open": "true", "reason": "T-1", "subject": somebody.subject, "topic": "messages"}
    (before,) = read(world, tenant.tokens["agent"], **query)
    assert before["opened"]["content"]["text"] == "Guten Tag"
    assert tenant.call("POST", f"/v1/subjects/{somebody.subject}/erasure", "officer").status == 202
    somebody.until("", lambda body: body["state"] == "erased")
    (after,) = read(world, tenant.tokens["agent"], **query)
    assert after["opened"] == {"content": "erased"}


def test_a_feed_says_something_though_nothing_is_for_its_reader(
    world: ApiWorld, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others' events come all the time; and a token that is taken back ends the feed."""
    monkeypatch.setattr(feed, "KEEP_ALIVE_S", 0.2)
    monkeypatch.setattr(feed, "REACHED_S", 3600.0)
    monkeypatch.setattr(feed, "CHECK_S", 0.2)
    other, token = world.tenant().person(), world.vault.issue_token(tenant.name, "agent")
    stop = threading.Event()

    def write() -> None:
        while not stop.wait(0.05):
            other.write("Hallo")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        with closing(stream(world, token, subject=random_id())) as answer:
            said = [answer.readline() for _ in range(8)]
            assert said[0] == b": the log\n"
            assert b": still here\n" in said
            world.vault.revoke_token(token)
            assert b'data: {"topic' not in b"".join(said) + answer.read()
    finally:
        stop.set()
        writer.join()


def test_what_lands_is_seen_at_once(world: ApiWorld, tenant: Tenant) -> None:
    """A follower from now on: nothing of before, everything after."""
    newcomer, seen = tenant.person(), list[str]()

    def follow() -> None:
        with closing(stream(world, tenant.tokens["agent"])) as answer:
            for kind, found in events_of(answer):
                if kind == "reached":
                    continue
                seen.append(found["subject"])
                if found["subject"] == newcomer.subject:
                    return

    thread = threading.Thread(target=follow)
    thread.start()

    # It begins at an end that nobody tells: write until it has been seen.
    def arrived() -> bool:
        newcomer.write("Hallo")
        return newcomer.subject in seen

    await_until(arrived, 60.0, "the event is seen")
    thread.join(60)
    assert not thread.is_alive()


def test_a_follower_is_told_until_when_it_has_everything(
    world: ApiWorld, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under a steady stream of events: whatever had landed at the time told was told before; and the time goes on."""
    monkeypatch.setattr(feed, "REACHED_S", 0.2)
    somebody, stop, begun = tenant.person(), threading.Event(), to_text(now_ms())

    def write() -> None:
        while not stop.wait(0.02):
            somebody.write("Hallo")

    writer = threading.Thread(target=write)
    writer.start()
    told, reached, late = 0, list[str](), list[str]()
    try:
        with closing(stream(world, tenant.tokens["agent"], **{"from": begun})) as answer:
            for kind, found in events_of(answer):
                if kind == "reached":
                    reached.append(found["at"])
                    if len(reached) == 5:
                        break
                else:
                    told += 1
                    late += (
                        [found["at"]] if reached and to_ms(found["at"]) < to_ms(reached[-1]) - LATE_MS else []
                    )
    finally:
        stop.set()
        writer.join()
    assert told > 5
    assert reached == sorted(set(reached))
    assert not late, "an event from before the time told came after it"


def test_feeds_are_counted_and_freed(world: ApiWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more than there may be is refused; a reader who hung up is noticed."""
    monkeypatch.setattr(feed, "FEEDS_MAX", 1)
    held: list[Any] = []

    def opened() -> bool:
        """As soon as feeds of before are noticed to be gone."""
        try:
            held.append(stream(world, world.admin))
        except HTTPError as error:
            error.close()
        return bool(held)

    await_until(opened, 60.0, "a feed is free")
    assert held[0].readline() == b": the log\n"
    assert refusal(world, world.admin) == 503
    held.pop().close()
    await_until(opened, 60.0, "the feed is free again")
    held.pop().close()


@pytest.fixture
def tail(world: ApiWorld) -> Iterator[LogTail]:
    """A reader of a topic that nobody else reads."""
    admin.apply_topics(world.bootstrap, [Topic(SLOW, -1)], 2, 1, embedded=True)
    with closing(LogTail(world.bootstrap, [SLOW], None)) as made:
        yield made


def test_who_is_too_slow_is_told_how_much_was_passed_over(world: ApiWorld, tail: LogTail) -> None:
    """1,000 records behind a limit of 100: what is left is skipped, counted, and what comes after it is read."""
    value = orjson.dumps({"nothing": "of ours"})
    world.producer.produce_all([Output(SLOW, b"slow", value) for _ in range(1_000)])
    read_so_far, passed = 0, 0

    def all_told() -> bool:
        nonlocal read_so_far, passed
        read_so_far += len(tail.read(10, 0.5))
        passed += tail.pass_over(100)
        return read_so_far + passed >= 1_000

    await_until(all_told, 60.0, "each is read or counted")
    assert passed
    assert read_so_far + passed == 1_000
    mark = random_id().encode()
    world.producer.produce_all([Output(SLOW, b"slow", mark)])
    await_until(lambda: mark in [record.value for record in tail.read(500, 0.5)], 60.0, "the newest is read")
