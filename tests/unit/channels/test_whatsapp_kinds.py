"""Every kind of message that a person can send, and the news about her: what each becomes, and what the command line shows."""

from typing import Any

import pytest

from tests.unit.channels.whatsapp_payloads import OWN, change, contact, message, status, webhook
from workers.channel import UnparseableFragment
from workers.channels.whatsapp.channel import CHANNEL
from workers.inbound_values import (
    Inbound,
    InboundAddressChange,
    InboundEcho,
    InboundEdit,
    InboundMessage,
    InboundReaction,
    InboundRevoke,
    InboundStatus,
    InboundUnsupported,
    Media,
)

PHONE = "4915112345678"
NEW = "4915199999999"


def read(body: bytes) -> Any:
    """The one value of a body with one fragment."""
    (fragment,) = CHANNEL.split(body)
    (value,) = CHANNEL.parse(fragment.raw)
    return value


def said(type_: str, part: Any = None, **fields: Any) -> Any:
    """What a message of this type becomes."""
    own = {} if part is None else {type_: part}
    return read(webhook([change(contacts=[contact()], messages=[message(type=type_, **own, **fields)])]))


def facts(type_: str, part: Any = None, **fields: Any) -> dict[str, Any]:
    """What `sealpost parse` shows of it."""
    own = {} if part is None else {type_: part}
    (fragment,) = CHANNEL.split(
        webhook([change(contacts=[contact()], messages=[message(type=type_, **own, **fields)])])
    )
    (line,) = CHANNEL.describe(fragment.raw)
    return line


def news(field: str, **value: Any) -> Inbound:
    found: Inbound = read(webhook([change(field, **value)]))
    return found


# ---- messages -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("type_", "more", "kind"),
    [
        ("image", {}, "image"),
        ("video", {}, "video"),
        ("document", {"filename": "Rechnung.pdf"}, "document"),
        ("audio", {"voice": False}, "audio"),
        ("audio", {"voice": True}, "voice"),
        ("voice", {}, "voice"),
        ("sticker", {"animated": True}, "sticker"),
    ],
)
@pytest.mark.parametrize("caption", [None, "", "Für Ada"])
def test_media(type_: str, more: dict[str, Any], kind: str, caption: str | None) -> None:
    part = {"id": "77", "mime_type": "a/b", "sha256": "c", "url": "https://lookaside.example/77", **more}
    value = said(type_, part | ({} if caption is None else {"caption": caption}))
    assert isinstance(value, InboundMessage)
    assert (value.kind, value.provider_kind, value.text) == ("media", type_, caption or None)
    file = Media(kind, "a/b", "77", "https://lookaside.example/77", more.get("filename"))  # type: ignore[arg-type]  # a table
    assert value.media == (file,)
    assert value.raw is not None
    line = facts(type_, part | {"caption": caption})
    assert (line["kind"], line["supported"], line["media_id"], line["mime"]) == ("message", True, "77", "a/b")
    assert (line["caption"], line["url"]) == (caption, part["url"])


@pytest.mark.parametrize("part", [{"mime_type": "a/b"}, {"id": ""}, {"id": 7}, {"id": {}, "url": None}, "x"])
def test_a_file_that_cannot_be_had_is_kept(part: Any) -> None:
    value = said("image", part)
    assert (value.kind, value.media, value.raw is not None) == ("unsupported", (), True)


def test_a_file_may_lie_at_an_address_only() -> None:
    """Newer payloads bring the address, some without the id."""
    for name in ("url", "link"):
        assert said("image", {name: "https://x.example/1"}).media[0].url == "https://x.example/1"


@pytest.mark.parametrize(
    ("latitude", "longitude", "kind"),
    [
        (52.5, 13.4, "location"),
        (0, 0, "location"),
        (-90, 180.0, "location"),
        ("LOCATION_LATITUDE", "LOCATION_LONGITUDE", "unsupported"),
        ("52.5", 13.4, "unsupported"),
        (True, 1, "unsupported"),
        (None, 1, "unsupported"),
        (91, 0, "unsupported"),
        (1e30, 0, "unsupported"),
    ],
)
def test_places(latitude: Any, longitude: Any, kind: str) -> None:
    value = said("location", {"latitude": latitude, "longitude": longitude, "name": "Hier"})
    assert (value.kind, value.text, value.raw is not None) == (kind, None, True)


def test_places_as_shown() -> None:
    line = facts("location", {"latitude": 0, "longitude": 13.4, "name": "Hier", "url": "https://x.example"})
    assert (line["latitude"], line["longitude"], line["name"], line["url"]) == (
        0,
        13.4,
        "Hier",
        "https://x.example",
    )


@pytest.mark.parametrize("cards", [[], [{"name": {"formatted_name": "Bob"}, "phones": [{"wa_id": NEW}]}]])
@pytest.mark.parametrize("origin", [None, "contact_request"])
def test_contact_cards_are_content(cards: list[Any], origin: str | None) -> None:
    """Nobody's address is taken from a card, not even the one that a person sends when asked for her own."""
    more = {} if origin is None else {"origin": origin}
    value = said("contacts", cards, **more)
    assert (value.kind, [a.value for a in value.addresses]) == ("contacts", [PHONE])
    line = facts("contacts", cards, **more)
    assert (line["count"], line["origin"]) == (len(cards), origin)


def test_the_origin_of_a_card_may_stand_in_it() -> None:
    assert facts("contacts", [{"origin": "contact_request"}])["origin"] == "contact_request"


@pytest.mark.parametrize(
    "answers", ['{"flow_token": "t", "size": 7}', "[1]", '"yes"', "7", "null", "no JSON"]
)
def test_filled_in_forms(answers: str) -> None:
    """The answers are JSON in a text, and may be no object."""
    part = {
        "type": "nfm_reply",
        "nfm_reply": {"name": "flow", "body": "Sent", "response_json": answers},
    }
    value = said("interactive", part)
    assert (value.kind, value.provider_kind, value.words) == ("form_reply", "interactive/nfm_reply", "")
    assert value.raw["value"]["messages"][0]["interactive"] == part
    line = facts("interactive", part)
    assert (line["type"], line["response_json"], line["body"]) == ("interactive/nfm_reply", answers, "Sent")


def test_orders() -> None:
    item = {"product_retailer_id": "p", "quantity": 1, "item_price": 2.5, "currency": "EUR"}
    value = said("order", {"catalog_id": "c", "product_items": [item, item], "text": "bitte bald"})
    assert (value.kind, value.text) == ("order", "bitte bald")
    assert said("order", {"catalog_id": "c", "text": ""}).text is None
    line = facts("order", {"catalog_id": "c", "product_items": [item, item], "text": ""})
    assert (line["catalog_id"], line["count"], line["text"]) == ("c", 2, "")
    assert (line["product_retailer_id"], line["quantity"], line["item_price"]) == ("p", 1, 2.5)


@pytest.mark.parametrize(
    ("type_", "code"), [("unsupported", 131051), ("unknown", 131051), ("errors", 1), ("poll_update", 7)]
)
def test_what_the_provider_cannot_show_is_no_text(type_: str, code: int) -> None:
    value = said(type_, text={"body": "STOP"}, errors=[{"code": code, "title": "unsupported"}])
    assert (value.kind, value.text, value.words) == ("unsupported", None, "")
    assert value.provider_kind == (type_ if type_ != "poll_update" else "other")


def test_what_cannot_be_shown_says_why() -> None:
    """Whatever its type, and without one."""
    errors = [{"code": 1060, "title": "gone", "message": "m", "error_data": {"details": "d"}}]
    told = {"error_code": 1060, "title": "gone", "message": "m", "details": "d"}
    for type_ in ("unsupported", "unknown", "ephemeral", "image", None):
        item = {key: part for key, part in message(type=type_, errors=errors).items() if part is not None}
        (fragment,) = CHANNEL.split(webhook([change(messages=[item])]))
        (line,) = CHANNEL.describe(fragment.raw)
        assert line.items() >= (told | {"kind": "message", "supported": False}).items()
    assert facts("unsupported", {"type": "poll"})["unsupported_type"] == "poll"


def test_answers_of_other_forms_are_kept() -> None:
    """With what they say as facts; one that says nothing at all is a message of hers all the same."""
    paid = {"type": "payment_method", "payment_method": {"reference_id": "r", "payment_method": "card"}}
    assert said("interactive", paid).kind == "unsupported"
    assert facts("interactive", paid).items() >= {"reference_id": "r", "payment_method": "card"}.items()
    nothing = said("interactive")
    assert (nothing.kind, nothing.provider_kind) == ("unsupported", "interactive")
    assert facts("interactive")["type"] == "interactive"


def test_whose_number_a_card_shows() -> None:
    card = {"name": {"formatted_name": "Bob"}, "phones": [{"phone": "+49 151", "wa_id": NEW}]}
    assert facts("contacts", [card]).items() >= {"first_phone": "+49 151", "first_wa_id": NEW}.items()
    assert "first_phone" not in facts("contacts", [{"name": {"formatted_name": "Bob"}}])


@pytest.mark.parametrize(
    ("context", "forwarded"),
    [
        ({"forwarded": True}, True),
        ({"frequently_forwarded": True}, True),
        ({"forwarded": False}, False),
        ({"forwarded": "no"}, False),
        ({}, False),
        ([], False),
    ],
)
def test_forwarded_words_ask_for_nothing(context: Any, forwarded: bool) -> None:
    for value in (
        said("text", context=context),
        said("image", {"id": "1", "caption": "JA"}, context=context),
    ):
        assert value.forwarded is forwarded
        assert bool(value.words) is not forwarded
        assert value.text


def test_by_which_advertisement_or_product_somebody_came_is_kept() -> None:
    referral = {"source_type": "ad", "source_id": "9", "headline": "Neu", "ctwa_clid": "click"}
    value = said("text", referral=referral)
    assert value.raw["value"]["messages"][0]["referral"] == referral
    line = facts("text", referral=referral)
    assert (line["ctwa_clid"], line["referral_source_id"], line["referral_headline"]) == ("click", "9", "Neu")
    product = {"catalog_id": "c", "product_retailer_id": "p"}
    asked = said("text", context={"referred_product": product})
    assert asked.raw["value"]["messages"][0]["context"] == {"referred_product": product}
    assert facts("text", context={"referred_product": product})["referred_product_retailer_id"] == "p"
    assert said("text", future={"a": 1}).raw is None


# ---- about a message ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("emoji", "found"), [({"emoji": "😮"}, "😮"), ({"emoji": ""}, ""), ({}, "")])
def test_reactions(emoji: dict[str, str], found: str) -> None:
    value = said("reaction", {"message_id": "wamid.0", **emoji})
    assert isinstance(value, InboundReaction)
    assert (value.target, value.emoji, value.provider_id) == ("wamid.0", found, "wamid.1")
    assert [a.value for a in value.addresses] == [PHONE]
    line = facts("reaction", {"message_id": "wamid.0", **emoji})
    assert (line["kind"], line["target"], line["removed"]) == ("reaction", "wamid.0", not found)


@pytest.mark.parametrize(
    ("new", "text"),
    [
        ({"type": "text", "text": {"body": "neu"}}, "neu"),
        ({"text": {"body": "neu"}}, "neu"),
        ({"type": "image", "image": {"id": "1", "caption": "neu"}}, "neu"),
        ({"type": "image", "image": {"id": "1"}}, None),
        ({"type": "location", "location": {"latitude": 0}}, None),
        ({"type": "unsupported", "text": {"body": "STOP"}}, None),
        ({"type": ["text"]}, None),
        ({}, None),
    ],
)
def test_edits(new: dict[str, Any], text: str | None) -> None:
    value = said("edit", {"original_message_id": "wamid.0", "message": new})
    assert isinstance(value, InboundEdit)
    assert (value.target, value.text, value.provider_id) == ("wamid.0", text, "wamid.1")
    assert value.raw["value"]["messages"][0]["edit"]["message"] == new


def test_edits_and_revocations_as_shown() -> None:
    new = {"type": "image", "image": {"id": "1", "caption": "neu"}}
    line = facts("edit", {"original_message_id": "wamid.0", "message": new})
    assert (line["event"], line["text"], line["media_id"]) == ("edited", "neu", "1")
    revoked = said("revoke", {"original_message_id": "wamid.0"})
    assert isinstance(revoked, InboundRevoke)
    assert revoked.target == "wamid.0"
    line = facts("revoke", {"original_message_id": "wamid.0"})
    assert (line["kind"], line["event"], line["original_message_id"]) == ("revoke", "deleted", "wamid.0")


@pytest.mark.parametrize("type_", ["text", "image", "reaction", "edit", "revoke", "system"])
def test_whatever_is_said_in_a_group_stays_apart(type_: str) -> None:
    value = said(type_, {"id": "1", "message_id": "x", "original_message_id": "x"}, group_id="g")
    assert isinstance(value, InboundUnsupported)
    assert value.provider_kind == "group"


# ---- about a person -----------------------------------------------------------------------------------------------


def moved(system: dict[str, Any], *contacts: dict[str, Any], **fields: Any) -> Any:
    item = message("wamid.2", type="system", system=system, **fields)
    return read(webhook([change(contacts=list(contacts), messages=[item])]))


@pytest.mark.parametrize(
    ("system", "fields", "old", "new"),
    [
        ({"type": "user_changed_number", "wa_id": NEW}, {}, [PHONE], [NEW]),
        ({"type": "user_changed_number", "new_wa_id": NEW}, {}, [PHONE], [NEW]),
        ({"type": "customer_changed_number", "wa_id": NEW, "customer": PHONE}, {"sender": None}, [PHONE], [NEW]),
        ({"type": "user_changed_number", "wa_id": NEW}, {"from_user_id": "DE.1"}, [PHONE], [NEW]),
        ({"type": "user_changed_number", "wa_id": NEW}, {"sender": "DE.1"}, ["DE.1"], [NEW]),
        (
            {"type": "user_changed_number", "wa_id": NEW, "user_id": "DE.2"},
            {"from_user_id": "DE.1"},
            ["DE.1", PHONE],
            ["DE.2", NEW],
        ),
        (
            {"type": "user_changed_user_id", "user_id": "DE.2", "previous_user_id": "DE.1", "wa_id": PHONE},
            {},
            ["DE.1"],
            ["DE.2", PHONE],
        ),
        ({"type": "user_changed_user_id", "user_id": "DE.2"}, {"sender": None, "from_user_id": "DE.1"}, ["DE.1"], ["DE.2"]),
        (
            {"type": "user_changed_user_id", "user_id": "DE.2", "body": "User Ada changed from DE.1 to DE.2"},
            {"sender": None},
            ["DE.1"],
            ["DE.2"],
        ),
        (
            {
                "type": "user_changed_user_id",
                "user_id": "DE.2",
                "body": "User x changed from DE.7 to DE.8 changed from DE.1 to DE.2",
            },
            {"sender": None},
            ["DE.1"],
            ["DE.2"],
        ),
    ],
)  # fmt: skip
def test_a_person_moves(
    system: dict[str, Any], fields: dict[str, Any], old: list[str], new: list[str]
) -> None:
    """Only what is replaced is old; a name that looks like the provider's sentence moves nobody."""
    value = moved(system, **fields)
    assert isinstance(value, InboundAddressChange)
    assert [a.value for a in value.old] == old
    assert [a.value for a in value.new] == new
    assert value.provider_id == "wamid.2"


def test_a_user_id_beside_a_changed_number_stays_hers() -> None:
    value = moved({"type": "user_changed_number", "wa_id": NEW}, contact(PHONE, user_id="DE.1"))
    assert [a.value for a in value.old] == [PHONE]


@pytest.mark.parametrize(
    ("system", "kind"),
    [
        ({"type": "customer_identity_changed", "identity": "x"}, "customer_identity_changed"),
        ({"type": "user_identity_changed"}, "customer_identity_changed"),
        ({"type": "user_changed_number", "wa_id": PHONE}, "system"),
        ({"type": "something of Ada"}, "system"),
        ({"type": ["user_changed_number"]}, "system"),
        ({}, "system"),
    ],
)
def test_other_news_about_a_person_moves_nobody(system: dict[str, Any], kind: str) -> None:
    value = moved(system)
    assert isinstance(value, InboundUnsupported)
    assert (value.field, value.provider_kind) == ("messages", kind)


def test_news_about_a_person_as_shown() -> None:
    """What happened stands where it stands of every other act."""
    system = {"type": "user_changed_number", "wa_id": NEW, "body": "Ada changed from 1 to 2"}
    line = facts("system", system)
    assert (
        line.items() >= {"kind": "address_change", "type": "system", "event": "user_changed_number"}.items()
    )
    assert (line["old"], line["new"], line["wa_id"], line["body"]) == ([PHONE], [NEW], NEW, system["body"])


def test_user_id_updates() -> None:
    item = {
        "wa_id": PHONE,
        "user_id": {"previous": "DE.1", "current": "DE.2"},
        "parent_user_id": {"previous": "DE.ENT.1", "current": "DE.ENT.2"},
        "timestamp": "1731705721",
    }
    value = news("user_id_update", user_id_update=[item])
    assert isinstance(value, InboundAddressChange)
    assert ([a.value for a in value.old], [a.value for a in value.new]) == (["DE.1"], ["DE.2"])
    assert news("user_id_update", user_id_update=[item]) == value, "the same report has the same id"
    same = news(
        "user_id_update", user_id_update=[item | {"user_id": {"previous": "DE.1", "current": "DE.1"}}]
    )
    assert isinstance(same, InboundUnsupported)
    (fragment,) = CHANNEL.split(webhook([change("user_id_update", user_id_update=[item])]))
    assert fragment.sender_ref == "DE.1"
    (line,) = CHANNEL.describe(fragment.raw)
    assert (line["kind"], line["old"], line["new"], line["wa_id"]) == (
        "address_change", ["DE.1"], ["DE.2"], PHONE,
    )  # fmt: skip


@pytest.mark.parametrize("field", ["smb_message_echoes", "message_echoes", "messages"])
def test_what_staff_wrote_past_us(field: str) -> None:
    """It belongs to the person it went to, never to our own number."""
    item = message("wamid.9", sender="15550783881", to=PHONE)
    (fragment,) = CHANNEL.split(webhook([change(field, message_echoes=[item])]))
    assert fragment.sender_ref == PHONE
    (value,) = CHANNEL.parse(fragment.raw)
    assert isinstance(value, InboundEcho)
    assert (value.recipient.value, value.text, value.provider_id) == (PHONE, "Hallo", "wamid.9")
    assert (value.account_ref, value.raw) == (OWN, fragment.raw)
    (line,) = CHANNEL.describe(fragment.raw)
    assert (line["kind"], line["to"], line["text"], line["field"]) == ("echo", PHONE, "Hallo", field)


def test_echoes_of_other_kinds() -> None:
    def echo(*contacts: dict[str, Any], **fields: Any) -> Any:
        item = message("wamid.9", sender="15550783881", **fields)
        return news("smb_message_echoes", contacts=list(contacts), message_echoes=[item])

    assert echo(to=PHONE, type="image", image={"id": "1", "caption": "Da"}).text == "Da"
    assert echo(to=PHONE, type="location", location={}).text is None
    assert echo(to_user_id="DE.1", to=PHONE).recipient.value == "DE.1"
    assert echo(contact(wa_id=None, user_id="DE.1")).recipient.value == "DE.1"
    item = message("wamid.9", sender="15550783881", to_user_id="DE.1")
    (fragment,) = CHANNEL.split(webhook([change("smb_message_echoes", message_echoes=[item])]))
    (line,) = CHANNEL.describe(fragment.raw)
    assert (line["to"], line["to_user_id"], line["bsuid"]) == (None, "DE.1", "DE.1")
    assert isinstance(echo(to=PHONE, group_id="g"), InboundUnsupported)
    for type_ in ("edit", "revoke", "reaction"):
        about = echo(to=PHONE, type=type_, **{type_: {"original_message_id": "wamid.1"}})
        assert isinstance(about, InboundUnsupported)
        assert (about.field, about.provider_kind) == ("smb_message_echoes", type_)
    with pytest.raises(UnparseableFragment):
        echo(to="Ada")


@pytest.mark.parametrize(
    ("word", "recipient"),
    [
        ({"recipient_user_id": "DE.1"}, "DE.1"),
        ({"recipient_id": "DE.1"}, "DE.1"),
        ({"recipient_id": PHONE}, PHONE),
        ({}, "DE.9"),
    ],
)
def test_statuses_to_hidden_numbers(word: dict[str, str], recipient: str) -> None:
    item = {key: part for key, part in status().items() if key != "recipient_id"} | word
    people = [contact(wa_id=None, user_id="DE.9")] if not word else []
    value = read(webhook([change(contacts=people, statuses=[item])]))
    assert isinstance(value, InboundStatus)
    assert value.recipient is not None
    assert value.recipient.value == recipient


@pytest.mark.parametrize(
    ("errors", "code"),
    [
        ([{"code": 131026, "title": "a", "details": "old place"}], 131026),
        ([{"code": "131047", "title": "a"}, {"code": 131026}], 131047),
        ([None, {"code": 131026}], 131026),
        ({"code": 131026}, 131026),
        ([], None),
        (None, None),
        ("broken", None),
    ],
)
def test_errors_of_a_status_in_every_form(errors: Any, code: int | None) -> None:
    body = webhook([change(statuses=[status("failed", errors=errors)])])
    value = read(body)
    assert (value.status, value.error_code) == ("failed", code)
    assert value.error_class in ("UNREACH", "WINDOW", "PERM")
    (line,) = CHANNEL.describe(CHANNEL.split(body)[0].raw)
    assert line.get("error_code") in (code, str(code))
