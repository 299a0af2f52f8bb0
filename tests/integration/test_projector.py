"""The projector: any order, repetition and lateness end in the same rows; what is purged stays purged."""

from itertools import permutations

import pytest

from projections.erasures import RANK
from projections.projector import ProjectorHandler
from projections.tables import FENCE, MERGE_ORDER, OF_A_PERSON
from schemas import stores, topics
from schemas.clock import to_ms
from schemas.envelope import Event
from schemas.events import registry
from schemas.events.deletions import StorePurged
from schemas.events.statuses import join, of_rank, rank
from schemas.ids import random_id
from streams.kafka import admin
from streams.kafka.admin import ClusterIdentity
from streams.kafka.consumer import read_to_end
from streams.kafka.producer import OrderedProducer
from streams.step.contract import Output, Poison, Record
from streams.step.engine import Engine, StopPartition
from tests.embedded_fixtures import KafkaServer, PostgresServer
from tests.projection_world import STATUS_MODELS, Person, ReadModels, at, message_name, shuffled

PARTITIONS = 4


@pytest.fixture(scope="module")
def models(postgres_server: PostgresServer) -> ReadModels:
    return ReadModels(postgres_server.fresh_database("projections"))


@pytest.fixture
def person() -> Person:
    return Person(f"t-{random_id()[:8]}")


MESSAGE = "select * from projections.message where tenant = %s and message = %s"


def test_a_status_before_its_message_makes_the_row(models: ReadModels, person: Person) -> None:
    """And the message fills it up when it comes."""
    message = message_name()
    models.apply(person.status("delivered", message, 7))
    row = models.one(MESSAGE, person.tenant, message)
    assert (row["status_rank"], row["purpose"], row["content"]) == (rank("delivered"), None, None)
    assert row["place_at"] == row["first_status_logged_at"]
    models.apply(person.asked(message, 3))
    row = models.one(MESSAGE, person.tenant, message)
    assert (row["status_rank"], row["purpose"], row["direction"]) == (rank("delivered"), "service", "out")
    assert row["content"] is not None
    assert row["place_at"] == row["logged_at"] < row["delivered_at"]


def test_the_last_edit_and_reaction_stand_beside_the_message(models: ReadModels, person: Person) -> None:
    """Sealed as they came, also where the message is read later; it stands where its own record stands."""
    message = random_id()
    first, last, reaction = (
        person.edited(message, 2, event_id="1" * 32),
        person.edited(message, 2, event_id="2" * 32),
        person.reacted(message, 3),
    )
    models.apply(first, reaction)
    row = models.one(MESSAGE, person.tenant, message)
    assert (row["edit_event"], row["kind"], row["content"]) == (first.id, None, None)
    models.apply(last)
    models.apply(person.wrote(message, 1))
    row = models.one(MESSAGE, person.tenant, message)
    assert (row["edit_event"], row["reaction_event"], row["kind"]) == (last.id, reaction.id, "text")
    assert None not in (row["edit"], row["reaction"], row["content"])
    assert row["place_at"] == row["logged_at"] < row["edited_at"]


@pytest.mark.parametrize("one_batch", [True, False])
@pytest.mark.parametrize("name", ["edit", "reaction"])
def test_the_last_edit_and_reaction_by_the_providers_time(
    models: ReadModels, person: Person, name: str, one_batch: bool
) -> None:
    """In whatever order they come, and of two of one time always the same; received counts where no event says more."""
    make = person.edited if name == "edit" else person.reacted
    message = random_id()
    old = make(message, 4)
    story = [old, make(message, 7, made=5), make(message, 6, made=6, event_id="a" * 32)]
    last = make(message, 5, made=6, event_id="b" * 32)
    for order in permutations([*story, last]):
        with models.transaction() as cursor:
            cursor.execute("delete from projections.message where tenant = %s", (person.tenant,))
        if one_batch:
            models.apply(*order)
        else:
            models.one_by_one(order)
        assert models.one(MESSAGE, person.tenant, message)[f"{name}_event"] == last.id


@pytest.mark.parametrize("one_batch", [True, False])
def test_a_reaction_before_the_echo_of_what_staff_wrote(
    models: ReadModels, person: Person, one_batch: bool
) -> None:
    """The message went out, whichever is read first; of one of hers, it came in."""
    echoed, wrote = message_name(), random_id()
    early, later = person.reacted(echoed, 2), person.reacted(wrote, 2)
    models.apply(early, later)
    assert models.one(MESSAGE, person.tenant, echoed)["direction"] is None
    for event in (person.echoed(echoed, 3), person.wrote(wrote, 3)):
        models.apply(*((early, later, event) if one_batch else (event,)))
    rows = [models.one(MESSAGE, person.tenant, one) for one in (echoed, wrote)]
    assert [(row["direction"], row["kind"]) for row in rows] == [("out", "echo"), ("in", "text")]
    assert [row["reaction_event"] for row in rows] == [early.id, later.id]


PERSONAL = ("content", "content_event", "edit", "edit_event", "reaction", "reaction_event")


@pytest.mark.parametrize("one_batch", [True, False])
def test_what_was_taken_back_is_not_kept(models: ReadModels, person: Person, one_batch: bool) -> None:
    """In every order of the events: nothing sealed stays in the row, but that the message was there and was taken back."""
    message = random_id()
    story = [
        person.wrote(message, 1),
        person.edited(message, 2),
        person.reacted(message, 3),
        person.revoked(message, 4),
    ]
    for order in permutations(story):
        with models.transaction() as cursor:
            cursor.execute("delete from projections.message where tenant = %s", (person.tenant,))
        if one_batch:
            models.apply(*order)
        else:
            models.one_by_one(order)
        row = models.one(MESSAGE, person.tenant, message)
        assert [row[name] for name in PERSONAL] == [None] * len(PERSONAL)
        assert (row["direction"], row["kind"]) == ("in", "text")
        assert None not in (row["revoked_at"], row["edited_at"])


def test_what_staff_wrote_and_a_reaction_to_one_of_ours_stand_in_the_chat(
    models: ReadModels, person: Person
) -> None:
    """Rows of their own, in the order of the log."""
    echo, reaction = person.echoed(message_name(), 1), person.reacted(None, 2)
    models.apply(echo, reaction)
    row = models.one(MESSAGE, person.tenant, echo.data["message"])
    assert (row["direction"], row["kind"], row["status_rank"]) == ("out", "echo", rank("sent"))
    assert row["content"] is not None
    row = models.one(MESSAGE, person.tenant, reaction.id)
    assert (row["direction"], row["kind"], row["content_event"]) == ("in", "reaction", reaction.id)


@pytest.mark.parametrize("one_batch", [True, False])
def test_statuses_in_every_order(models: ReadModels, person: Person, one_batch: bool) -> None:
    """Reverse order, `read` then `sent`, and all others: the final state and the times are the same."""
    message = message_name()
    story = [person.asked(message, 1)]
    story += [person.status(s, message, 2 + i) for i, s in enumerate(("submitted", "sent", "read"))]
    seen = set()
    for order in permutations(range(len(story))):
        tenant, copy = f"t-{random_id()[:8]}", message_name()
        events = [of(story[i], tenant, copy, message) for i in order]
        if one_batch:
            models.apply(*events)
        else:
            models.one_by_one(events)
        row = models.one(MESSAGE, tenant, copy)
        seen.add(
            tuple(
                str(row[name])
                for name in ("status_rank", "reason", "place_at", "submitted_at", "sent_at", "read_at")
            )
        )
    assert len(seen) == 1
    assert next(iter(seen))[0] == str(rank("read"))


def of(event: Event, tenant: str, message: str, instead_of: str) -> Event:
    """The same event of another tenant and message."""
    changed = event.to_bytes().replace(instead_of.encode(), message.encode())
    return Event.from_bytes(changed).model_copy(update={"tenant": tenant, "id": random_id()})


@pytest.mark.parametrize("first", list(STATUS_MODELS))
@pytest.mark.parametrize("second", list(STATUS_MODELS))
def test_two_statuses_are_joined_by_the_lattice(
    models: ReadModels, person: Person, first: str, second: str
) -> None:
    """Whatever comes second; the reason is the winner's."""
    message = message_name()
    models.apply(person.status(first, message, 1, reason=f"why {first}"))
    models.apply(person.status(second, message, 2, reason=f"why {second}"))
    row = models.one(MESSAGE, person.tenant, message)
    winner = join(first, second)  # type: ignore[arg-type]  # the keys of STATUS_MODELS are statuses
    assert row["status_rank"] == rank(winner)
    assert row["reason"] == f"why {winner}"


@pytest.mark.parametrize("end", ["failed", "rejected", "expired"])
def test_a_text_of_which_a_part_is_missing_was_not_delivered(
    models: ReadModels, person: Person, end: str
) -> None:
    """Whatever became of the other parts, and in every order; those that were held back for it do not hide why."""
    story = [
        ("submitted", 0, None), ("delivered", 0, None), (end, 1, "why"), ("rejected", 2, "part_failed"), ("read", 0, None),
    ]  # fmt: skip
    seen = set()
    for order in permutations(story):
        message = message_name()
        models.apply(*(person.status(word, message, 1, reason, part) for word, part, reason in order))
        row = models.one(MESSAGE, person.tenant, message)
        seen.add((of_rank(row["status_rank"]), row["reason"]))
    assert seen == {(end, "why")}


def test_the_first_part_speaks_for_a_text_whose_parts_all_went(models: ReadModels, person: Person) -> None:
    message = message_name()
    models.apply(person.status("submitted", message, 1), person.status("read", message, 2, part=1))
    assert models.one(MESSAGE, person.tenant, message)["status_rank"] == rank("submitted")
    models.apply(person.status("delivered", message, 3))
    assert models.one(MESSAGE, person.tenant, message)["status_rank"] == rank("delivered")


def test_consents_in_every_order_and_repetition(models: ReadModels, person: Person) -> None:
    """Given and Withdrawn, twice each, in any order: the same permission."""
    story = [person.given(1), person.withdrawn(5), person.given(9), person.withdrawn(3)]
    seen = set()
    for order in permutations(story):
        tenant = f"t-{random_id()[:8]}"
        events = [event.model_copy(update={"tenant": tenant}) for event in (*order, *reversed(order))]
        models.apply(*events[:3])
        models.one_by_one(events[3:])
        row = models.one("select * from projections.permission where tenant = %s", tenant)
        seen.add((str(row["given_at"]), row["given_by"], str(row["withdrawn_at"])))
    assert seen == {("2026-11-23 10:00:09+00:00", story[2].id, "2026-11-23 10:00:05+00:00")}


def test_equal_times_of_yes_and_no_stay_visible(models: ReadModels, person: Person) -> None:
    """The rule says withdrawn; the row holds both times, so that every reader decides alike."""
    models.apply(person.given(4), person.withdrawn(4))
    row = models.one("select * from projections.permission where tenant = %s", person.tenant)
    assert row["given_at"] == row["withdrawn_at"]


@pytest.mark.finding(12)
def test_applying_twice_equals_once(models: ReadModels, person: Person) -> None:
    """A batch again, its events one by one, under new offsets: the same rows."""
    story = person.whole_story()
    models.apply(*story)
    once = models.rows(person.tenant)
    models.apply(*story)
    models.one_by_one(story)
    assert models.rows(person.tenant) == once
    assert once["subject"], "there is something to compare"


def test_the_order_of_topics_does_not_show(postgres_server: PostgresServer, person: Person) -> None:
    """Whole topics one after another, in any order, give the rows of the original order."""
    story = [*person.whole_story(), person.erasure_requested(20)]
    results = []
    for seed in range(4):
        models = ReadModels(postgres_server.fresh_database("projections"))
        records = models.records(story)
        names = sorted({record.topic for record in records}, reverse=bool(seed % 2))
        names = names[seed:] + names[:seed]
        for name in names:
            models.apply_records([record for record in records if record.topic == name])
        results.append(models.rows(person.tenant))
    assert all(result == results[0] for result in results[1:])


@pytest.mark.finding(8)
def test_purge_and_fence(models: ReadModels, person: Person) -> None:
    """KeyDestroyed empties every table of the person, leaves a fence and one receipt; late events make no row."""
    neighbour = Person(person.tenant)
    models.apply(*person.whole_story(), *neighbour.whole_story())
    destroyed = person.key_destroyed(30)
    outputs = models.apply(person.erasure_requested(29), destroyed)
    assert [(output.type, output.subject) for output in outputs] == [
        ("sealpost.store.purged.v1", person.subject)
    ]
    receipt = registry.read(outputs[0])
    assert isinstance(receipt, StorePurged)
    assert (receipt.erasure, receipt.store) == (person.erasure, stores.PROJECTION_V1)
    late = Person(person.tenant, person.subject, person.erasure).whole_story()
    models.apply(*late)
    models.one_by_one(late)
    left = models.rows(person.tenant)
    for table in OF_A_PERSON:
        if table.name != "unknown_event":
            assert {row[1] for row in left[table.name]} == {neighbour.subject}, table.name
    assert [(row[1], row[2]) for row in left["fence"]] == [(person.subject, person.erasure)]
    again = models.apply(destroyed)
    assert [output.id for output in again] == [outputs[0].id], "a repeat writes the same receipt"
    assert models.rows(person.tenant) == left


@pytest.mark.finding(8)
def test_a_purge_in_the_middle_of_a_batch(models: ReadModels, person: Person) -> None:
    """What stands before and behind KeyDestroyed in one batch leaves no row."""
    story = person.whole_story()
    models.apply(*story[:6], person.key_destroyed(30), *story[6:])
    rows = models.rows(person.tenant)
    assert {name for name, some in rows.items() if some} == {"fence", "erasure"}


@pytest.mark.parametrize("seed", range(5))
def test_states_of_an_erasure(models: ReadModels, person: Person, seed: int) -> None:
    """Requested, keys destroyed, erased, settled: the furthest one, in whatever order the events are read."""
    steps = [person.erasure_requested(1), person.key_destroyed(2), person.erased(4), person.settled(9)]
    for event in shuffled(seed, steps):
        models.apply(event)
    row = models.one("select * from projections.erasure where tenant = %s", person.tenant)
    assert row["state_rank"] == RANK["settled"]
    assert [str(row[name])[:19] for name in ("t0", "t1", "t2")] == [
        "2026-11-23 10:00:01", "2026-11-23 10:00:02", "2026-11-23 10:00:03",
    ]  # fmt: skip
    receipts = models.one("select * from projections.receipt where tenant = %s", person.tenant)
    assert receipts["store"] == "projections.v1"


@pytest.mark.finding(21)
def test_unknown_types_are_counted_and_bad_records_are_poison(models: ReadModels, person: Person) -> None:
    """A type of tomorrow is a row without content; a record that is none is dead-lettered, its subject marked stale."""
    tomorrow = person.created().model_copy(update={"type": "sealpost.subject.praised.v3", "id": random_id()})
    models.apply(person.created(), tomorrow)
    row = models.one("select * from projections.unknown_event where tenant = %s", person.tenant)
    assert (row["event"], row["type"]) == (tomorrow.id, tomorrow.type)
    broken = person.wrote(message_name(), 1).model_copy(update={"data": {"message": "red-4711"}})
    garbage = Record(topics.MESSAGES, 0, 1, person.subject.encode(), b"{red-4711", to_ms(at(0)))
    keyless = Record(topics.MESSAGES, 0, 2, b"49151", person.created().to_bytes(), to_ms(at(0)))
    answers = models.handler.prepare([*models.records([broken]), garbage, keyless])
    assert [type(answer) for answer in answers] == [Poison] * 3
    assert [answer.subject for answer in answers if isinstance(answer, Poison)] == [person.subject] * 2 + [
        None
    ]
    assert "red-4711" not in str([answer.reason for answer in answers if isinstance(answer, Poison)])
    models.apply_records(models.records([broken]))
    assert models.one("select stale from projections.subject where tenant = %s", person.tenant)["stale"]


@pytest.mark.parametrize("topic", ProjectorHandler.topics)
def test_a_record_that_nobody_can_read(models: ReadModels, person: Person, topic: str) -> None:
    """Of a known subject it is dead-lettered and the row marked stale; of an unknown one it stops the partition where it may be
    a consent or a deletion."""
    models.apply(person.created())
    strange = person.created().model_copy(update={"subject": "49151", "data": {}}).to_bytes()
    for value in (b"{red-4711", None, b"{}"):
        models.apply_records([Record(topic, 0, 7, person.subject.encode(), value, to_ms(at(0)))])
        stale = "update projections.subject set stale = null where tenant = %s returning stale"
        assert models.one("select stale from projections.subject where tenant = %s", person.tenant)["stale"]
        models.one(stale, person.tenant)
    before = models.rows(person.tenant)
    for key, value in ((b"49151", b"{red-4711"), (None, None), (b"49151", strange)):
        unknown = Record(topic, 3, 8, key, value, to_ms(at(0)))
        if topic in (topics.CONSENTS, topics.DELETIONS):
            with pytest.raises(StopPartition, match=rf"{topic}/3 offset 8 .*InvalidEvent") as stopped:
                models.apply_records([unknown])
            assert "red-4711" not in str(stopped.value)
            assert "49151" not in str(stopped.value)
        else:
            models.apply_records([unknown])
    assert models.rows(person.tenant) == before


def test_read_models_hold_no_clear_personal_data(models: ReadModels) -> None:
    """Every column of the schema is known to projections.tables, where its rule stands; personal ones are JSON blocks."""
    with models.transaction() as cursor:
        cursor.execute(
            "select table_name, column_name from information_schema.columns where table_schema = 'projections'"
        )
        found = set(cursor.fetchall())
    known = {(t.name, name) for t in (*MERGE_ORDER, FENCE) for name in (*t.key, *t.columns)}
    computed = {("message", "place_at"), ("message", "place_offset")}
    assert found - known == computed, "where a message stands is computed from its other columns"
    assert known <= found
    with_subject = {name for name, column in found if column == "subject"}
    assert with_subject == {table.name for table in OF_A_PERSON} | {"fence", "erasure"}, (
        "a table that no purge empties"
    )


@pytest.fixture(scope="module")
def log(kafka_server: KafkaServer) -> str:
    """The real topics."""
    admin.apply_topics(kafka_server.bootstrap, topics.catalogue(), PARTITIONS, 1, embedded=True)
    return kafka_server.bootstrap


@pytest.mark.finding(23)
def test_rebuild_from_the_log(log: str, postgres_server: PostgresServer) -> None:
    """On the real engine: repeats in the log, a purge among them; a second database gives equal rows and a receipt that
    every reader drops as a repeat."""
    tenant = f"t-{random_id()[:8]}"
    people = [Person(tenant) for _ in range(20)]
    stories = [event for person in people for event in person.whole_story()]
    stories += [
        event for person in people[:3] for event in (person.erasure_requested(50), person.key_destroyed(51))
    ]
    producer = OrderedProducer(log, client_id="test-projector")
    outputs = [Output(registry.TOPIC_OF[registry.MODELS[e.type]], e.key(), e.to_bytes()) for e in stories]
    producer.produce_all([*outputs, *outputs[::7]])
    built = []
    for size in (40, 1000):
        models = ReadModels(postgres_server.fresh_database("projections"))
        fold_log(models, log, producer, size)
        built.append(models.rows(tenant))
    assert built[0] == built[1]
    assert len(built[0]["subject"]) == 17
    assert len(built[0]["fence"]) == 3
    receipts = [
        event.id
        for record in read_to_end(log, topics.DELETIONS, timeout_s=60)
        if tenant.encode() in (record.value or b"")
        and (event := Event.from_bytes(record.value)).type == StorePurged.TYPE
    ]
    assert len(set(receipts)) == 3
    producer.close()


def test_the_engine_stops_in_front_of_an_unknown_deletion(log: str, postgres_server: PostgresServer) -> None:
    """Again and again, in words; the position does not move, and what comes behind is not read."""
    models = ReadModels(postgres_server.fresh_database("projections"))
    producer = OrderedProducer(log, client_id="test-projector")
    person = Person(f"t-{random_id()[:8]}")
    for _ in range(2):
        engine = Engine(models.handler, models.dsn, producer, cluster=ClusterIdentity(log))
        position = engine.take_over(range(PARTITIONS))[topics.DELETIONS, 0]
        event = person.erasure_requested(1)
        records = [
            Record(topics.DELETIONS, 0, position, b"49151", b"{", to_ms(at(1))),
            Record(topics.DELETIONS, 0, position + 1, event.key(), event.to_bytes(), to_ms(at(1))),
        ]
        with pytest.raises(StopPartition, match=f"{topics.DELETIONS}/0 offset {position} "):
            engine.step(records)
        assert engine.position(topics.DELETIONS, 0) == position
        engine.close()
    assert models.rows(person.tenant)["erasure"] == []
    producer.close()


def fold_log(models: ReadModels, bootstrap: str, producer: OrderedProducer, batch: int) -> None:
    """What the feed does: `deletions` to its end first, then the rest, then the receipts that this has written."""
    engine = Engine(models.handler, models.dsn, producer, cluster=ClusterIdentity(bootstrap))
    engine.take_over(range(PARTITIONS))
    others = [one for one in models.handler.topics if one != topics.DELETIONS]
    for topic in (topics.DELETIONS, *others, topics.DELETIONS):
        records = list(read_to_end(bootstrap, topic, timeout_s=60))
        for start in range(0, len(records), batch):
            engine.step(records[start : start + batch])
    engine.close()
