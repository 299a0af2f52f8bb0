"""What `sealpost parse` and `sealpost classify` print: facts of payloads as JSON-able objects, without any running part."""

from workers.channel import Channel, JsonObject, ProviderResponse, UnparseableBody

NO_STATUS = 0
"""HTTP status of an answer whose status is not known: the code in the body alone decides."""


def parse_report(channel: Channel, body: bytes) -> list[JsonObject]:
    """One object for every inbound value of a webhook body, flat names, `kind` and `supported` first.

    What a receiver would dead-letter has `reject: true` and `why`; a body that cannot be split is one such object.
    """
    try:
        fragments = channel.split(body)
    except UnparseableBody:
        return [{"kind": "rejected", "supported": False, "reject": True, "why": "body"}]
    return [described for fragment in fragments for described in channel.describe(fragment.raw)]


def classify_report(channel: Channel, body: bytes, http_status: int | None = None) -> JsonObject:
    """`{"class", "code", "retry_after_s"}` of a provider's error answer; `body` is the whole answer or its error object."""
    found = channel.classify(ProviderResponse(http_status or NO_STATUS, {}, body))
    return {"class": found.failure_class, "code": found.code, "retry_after_s": found.retry_after_s}
