"""News about templates and accounts: words of fixed lists, whatever the provider writes."""

from typing import Any

import orjson
import pytest

from tests.unit.channels.whatsapp_payloads import OWN, change, message
from workers.channels.whatsapp import wire
from workers.channels.whatsapp.channel import CHANNEL
from workers.inbound_values import Inbound, InboundAccountNews, InboundTemplateStatus, InboundUnsupported

AT_S = 1_751_247_548
TEMPLATE = {
    "event": "REJECTED",
    "message_template_id": 1_689_556_908_129_835,
    "message_template_name": "abandoned_cart",
    "message_template_language": "en_US",
    "reason": "INVALID_FORMAT",
}


def read(field: str, value: dict[str, Any], **entry: Any) -> Inbound:
    """The one value of news as the provider sends it: about the business account, so without a number of ours."""
    found = {"id": "waba", "changes": [{"field": field, "value": value}], **entry}
    (fragment,) = CHANNEL.split(orjson.dumps({"object": "whatsapp_business_account", "entry": [found]}))
    assert (fragment.account_ref, fragment.sender_ref) == ("", "")
    (parsed,) = CHANNEL.parse(fragment.raw)
    return parsed


def decided(**changed: Any) -> Any:
    return read("message_template_status_update", TEMPLATE | changed, time=AT_S)


@pytest.mark.parametrize(
    ("event", "reason", "status", "why"),
    [
        ("REJECTED", "INVALID_FORMAT", "rejected", "invalid_format"),
        ("APPROVED", "NONE", "approved", None),
        ("PAUSED", None, "paused", None),
        ("PENDING_DELETION", "", "pending_deletion", "other"),
        ("Ada has lost it", "because of Ada", "other", "other"),
    ],
)
def test_what_was_decided_about_a_template(
    event: str, reason: str | None, status: str, why: str | None
) -> None:
    value = decided(event=event, reason=reason)
    assert isinstance(value, InboundTemplateStatus)
    assert (value.template, value.language, value.status, value.reason) == (
        "abandoned_cart", "en_US", status, why,
    )  # fmt: skip
    assert value.provider_time_ms == AT_S * 1_000
    assert decided(event=event, reason=reason) == value, "the same report has the same id"


def test_decisions_differ_by_what_they_say_and_when() -> None:
    later = read("message_template_status_update", TEMPLATE, time=AT_S + 1)
    ids = {one.provider_id for one in (decided(), decided(event="APPROVED"), later)}  # type: ignore[union-attr]  # checked above
    assert len(ids) == 3


@pytest.mark.parametrize(
    "changed",
    [
        {"message_template_name": "Ada Lovelace"},
        {"message_template_name": None},
        {"message_template_language": "+4915112345678"},
        {"event": None},
        {"reason": ["x"]},
    ],
)
def test_what_names_no_template_of_ours_is_kept(changed: dict[str, Any]) -> None:
    """A name and a language stand in clear later, so they are only taken when they look like ones."""
    value = decided(**changed)
    assert isinstance(value, InboundUnsupported)
    assert (value.field, value.provider_kind) == ("message_template_status_update", "other")


@pytest.mark.parametrize(
    ("field", "value", "event"),
    [
        ("phone_number_quality_update", {"event": "DOWNGRADE", "current_limit": "TIER_1K"}, "downgrade"),
        ("phone_number_name_update", {"decision": "APPROVED", "requested_verified_name": "Ada"}, "approved"),
        ("account_update", {"event": "ACCOUNT_VIOLATION", "violation_info": {}}, "account_violation"),
        (
            "account_update",
            {"event": "DISABLED_UPDATE", "ban_info": {"waba_ban_state": "SCHEDULE_FOR_DISABLE"}},
            "schedule_for_disable",
        ),
        ("account_update", {"event": "DISABLED_UPDATE", "ban_info": {"waba_ban_state": []}}, "disabled_update"),
        ("account_review_update", {"decision": "REJECTED"}, "rejected"),
        ("account_alerts", {"alert_info": {"alert_type": "OBA_APPROVED"}}, "oba_approved"),
        ("account_alerts", {"alert_type": "OBA_APPROVED"}, "oba_approved"),
        ("business_capability_update", {"max_daily_conversation_per_phone": 1000}, "changed"),
        ("business_username_updates", {"username": "ada", "status": "approved"}, "approved"),
        ("message_template_quality_update", {"new_quality_score": "YELLOW"}, "yellow"),
        ("template_category_update", {"new_category": "MARKETING"}, "marketing"),
        ("template_category_update", {"correct_category": "UTILITY"}, "utility"),
        ("security", {"event": "PIN_CHANGED"}, "pin_changed"),
        ("security", {"event": "Ada changed 1234"}, "other"),
        ("security", {"event": {"Ada": 1}}, "other"),
        ("security", {"nothing": 1}, "other"),
    ],
)  # fmt: skip
def test_news_about_the_account(field: str, value: dict[str, Any], event: str) -> None:
    found = read(field, value, time=AT_S)
    assert isinstance(found, InboundAccountNews)
    assert (found.field, found.event, found.provider_time_ms) == (field, event, AT_S * 1_000)
    assert read(field, value) != found, "without a time it is another report"
    assert read(field, value).provider_time_ms == 0  # type: ignore[union-attr]  # checked above


def test_only_words_of_the_lists_stand_in_clear() -> None:
    for field in wire.NEWS:
        value = read(field, {"event": "Ada", "decision": "Ada", "status": "Ada", "x": 1})
        assert isinstance(value, InboundAccountNews)
        assert value.event in ("other", "changed")
        assert value.field in wire.FIELDS
    assert all(word == word.lower() for word in wire.NEWS_WORDS | wire.TEMPLATE_STATUSES)


@pytest.mark.parametrize("field", ["history", "smb_app_state_sync", "calls", "standby", "flows of Ada"])
def test_other_fields_are_kept_and_counted(field: str) -> None:
    """A history of old chats is of people who never wrote to Sealpost; nothing is made of it."""
    value = read(field, {"history": [{"threads": [{"id": "1", "messages": [message()]}]}]})
    assert isinstance(value, InboundUnsupported)
    assert (value.field, value.provider_kind) == (field if field in wire.FIELDS else "other", "other")


@pytest.mark.parametrize("field", ["security", "history", "user_preferences"])
def test_a_message_under_a_foreign_field_is_no_message(field: str) -> None:
    (fragment,) = CHANNEL.split(
        orjson.dumps(
            {
                "object": "whatsapp_business_account",
                "entry": [{"changes": [change(field, messages=[message()])]}],
            }
        )
    )
    assert fragment.account_ref == OWN
    assert isinstance(CHANNEL.parse(fragment.raw)[0], InboundUnsupported)


def test_news_as_shown() -> None:
    body = {"object": "whatsapp_business_account", "entry": [{"time": AT_S, "changes": []}]}
    body["entry"][0]["changes"] = [  # type: ignore[index]  # made above
        {"field": "message_template_status_update", "value": TEMPLATE},
        {
            "field": "account_alerts",
            "value": {"entity_id": "1", "alert_info": {"alert_type": "OBA_APPROVED"}},
        },
    ]
    template, alert = (CHANNEL.describe(f.raw)[0] for f in CHANNEL.split(orjson.dumps(body)))
    assert (template["kind"], template["template"], template["event"], template["reason"]) == (
        "template_status", "abandoned_cart", "REJECTED", "INVALID_FORMAT",
    )  # fmt: skip
    assert (alert["kind"], alert["alert_type"], alert["entity_id"]) == ("account_news", "OBA_APPROVED", "1")


def test_of_a_list_the_first_one_is_shown() -> None:
    limits: list[dict[str, Any]] = [
        {"restriction_type": "RESTRICTED_BIZ_INITIATED_MESSAGING", "expiration": AT_S},
        {"restriction_type": "x"},
    ]
    found = {"field": "account_update", "value": {"event": "ACCOUNT_RESTRICTION", "restriction_info": limits}}
    (line,) = CHANNEL.describe(found)
    assert line.items() >= {"event": "ACCOUNT_RESTRICTION", **limits[0]}.items()
