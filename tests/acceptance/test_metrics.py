"""What Prometheus sees of a running instance after real traffic."""

from functools import partial

from tests.acceptance_instance import RunningInstance, Sample, sample, scrape, until


def test_the_way_of_a_message_can_be_followed_in_the_metrics(instance: RunningInstance) -> None:
    """Stages, events, opens and lag, each at the role that does the work."""
    number = instance.new_number()
    subject = instance.sign_up(number)
    accepted = instance.send(number, "Hallo Ada")
    instance.item(subject, accepted.body["message_id"], {"read"})
    stages = (
        ("receiver", "webhook"),
        ("inbound", "inbound"),
        ("outbound", "permit"),
        ("outbound", "provider"),
        ("projector", "projection"),
    )
    for role, stage in stages:
        name = "sealpost_stage_delay_seconds_count"
        assert sample(instance, role, name, stage=stage) > 0, stage
    written = (
        ("inbound", "subscriptions", "subject.created"),
        ("inbound", "messages", "message.received"),
        ("inbound", "statuses", "message.read"),
        ("outbound", "statuses", "message.submitted"),
        ("outbound", "consents", "confirmation.sent"),
        ("streams", "consents", "consent.given"),
    )
    for role, topic, name in written:
        labels = {"topic": f"sealpost.{topic}", "type": f"sealpost.{name}.v1"}
        assert sample(instance, role, "sealpost_events_total", **labels) > 0, name
    for role in ("inbound", "outbound", "api"):
        assert sample(instance, role, "sealpost_opens_total", result="plain") > 0, role
        assert sample(instance, role, "sealpost_opens_total", result="corrupt") == 0, role
    for name in ("sealpost_send_outcome_unknown_total", "sealpost_send_duplicates_total"):
        assert (name, frozenset({("channel", "whatsapp")})) in scrape(instance, "outbound"), name
    for role, topic in (("inbound", "sealpost.inbound.whatsapp"), ("outbound", "sealpost.outbound.whatsapp")):
        for unit in ("records", "seconds"):
            lag = (f"sealpost_consumer_lag_{unit}", frozenset({("role", role), ("topic", topic)}))
            until(f"no {unit} of lag in {role}", partial(caught_up, instance, role, lag))


def caught_up(instance: RunningInstance, role: str, lag: Sample) -> bool:
    """A role shows this lag, and it is 0."""
    return scrape(instance, role).get(lag) == 0
