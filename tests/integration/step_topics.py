"""Topics deleted and made anew under the same name."""

from confluent_kafka.admin import AdminClient

from schemas.topics import Topic
from streams.kafka import admin
from tests.step_world import World, await_until

LIMIT_S = 60.0


def make_anew(world: World) -> None:
    """Delete a world's source topic and make it again, empty."""
    client = AdminClient({"bootstrap.servers": world.bootstrap})
    for future in client.delete_topics([world.source]).values():
        future.result(LIMIT_S)
    await_until(lambda: world.source not in admin.topic_ids(world.bootstrap), LIMIT_S, "the topic is gone")
    admin.apply_topics(world.bootstrap, [Topic(world.source, -1)], world.partitions, 1, embedded=True)
    await_until(lambda: world.source in admin.topic_ids(world.bootstrap), LIMIT_S, "the topic is there")
