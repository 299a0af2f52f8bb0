"""What a form shows, or why it shows nothing; the words in both languages; QR codes; the widget's file."""

import re
from dataclasses import replace

import pytest
import segno
from hypothesis import given
from hypothesis import strategies as st

from schemas.content import TextReference
from schemas.default_wording import SIGNUP, SIGNUPS, wording_hash
from schemas.settings import Account, ConsentText, Form, Notice, TenantSettings
from schemas.texts import LANGUAGES
from schemas.wording import wording
from workers.channel import Channel, UnknownChannel
from workers.optin import pages, public
from workers.optin.offers import WHY, Missing, Offer, language_for, offer, offer_of
from workers.optin.qr import QUIET_MODULES, qr_path, qr_svg
from workers.optin.words import WORDS, words_for
from workers.registry import channel

WIDGET = (pages.FOLDER / "assets" / "widget.js").read_text()
WIDGET_MAX_BYTES = 15_000
FORM = Form("f" * 32, ("newsletter",), (), ("https://www.example.org",), None)


def text(language: str) -> ConsentText:
    body = SIGNUPS["de" if language == "de" else "en"]
    return ConsentText(SIGNUP, 1, language, body, wording_hash(body))


SETTINGS = TenantSettings(
    tenant="acme",
    name="Obsthof",
    default_language="de",
    dpa_signed_ms=1,
    purposes={"service": "contract", "newsletter": "consent", "events": "consent"},
    notices={
        language: Notice("privacy", 1, language, f"https://example.org/{language}") for language in LANGUAGES
    },
    consent_texts={f"{SIGNUP}/1/{language}": text(language) for language in LANGUAGES},
    accounts={"a1": Account("a1", "whatsapp", "c1", "4930123456")},
    forms={FORM.form: FORM},
)


def shown(settings: TenantSettings, form: Form = FORM, language: str | None = "de") -> Offer:
    found = offer_of(settings, form, language, channel)
    assert isinstance(found, Offer), found
    return found


def test_a_form_shows_a_box_for_each_purpose_that_needs_consent() -> None:
    """In its order; what needs none is not asked for."""
    form = replace(FORM, purposes=("events", "service", "newsletter"))
    found = shown(SETTINGS, form)
    assert [box.purpose for box in found.boxes] == ["events", "newsletter"]
    assert all(
        "Obsthof" in box.label and "STOPP" in box.label and "{" not in box.label for box in found.boxes
    )
    assert "„Newsletter“" in found.boxes[1].label
    assert [account.account for account in found.accounts] == ["a1"]


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        (None, "unknown_form"),
        (replace(SETTINGS, forms={}), "unknown_form"),
        (replace(SETTINGS, dpa_ended_ms=2), "no_dpa"),
        (replace(SETTINGS, notices={}), "no_notice"),
        (replace(SETTINGS, notices={"de": Notice("privacy", 1, "de", "")}), "no_notice"),
        (replace(SETTINGS, consent_texts={}), "no_text"),
        (replace(SETTINGS, purposes={"newsletter": "contract"}), "no_purpose"),
        (replace(SETTINGS, accounts={}), "no_channel"),
        (replace(SETTINGS, accounts={"a1": Account("a1", "whatsapp", "c1")}), "no_channel"),
        (replace(SETTINGS, accounts={"a1": Account("a1", "pigeon", "c1", "coo")}), "no_channel"),
    ],
)
def test_what_is_missing_has_a_sentence_for_the_owner(settings: TenantSettings | None, why: Missing) -> None:
    assert offer(settings, FORM.form, "de", known_channel) == why
    assert WHY[why].endswith(".")


def known_channel(name: str) -> Channel:
    if name != "whatsapp":
        raise UnknownChannel("it is not installed")
    return channel(name)


def test_a_form_names_its_accounts_or_means_all() -> None:
    accounts = {name: Account(name, "whatsapp", "c1", "4930123456") for name in ("a1", "a2", "a3")}
    settings = replace(SETTINGS, accounts=accounts)
    assert [a.account for a in shown(settings).accounts] == ["a1", "a2", "a3"]
    assert [a.account for a in shown(settings, replace(FORM, accounts=("a3", "gone"))).accounts] == ["a3"]


def test_nobody_is_asked_in_one_language_for_a_text_in_another() -> None:
    """Where only German is approved the whole form is German, with the German notice."""
    settings = replace(SETTINGS, consent_texts={f"{SIGNUP}/1/de": text("de")})
    found = shown(settings, language="en")
    assert (found.language, found.text.language, found.notice.language) == ("de", "de", "de")
    assert shown(SETTINGS, language="en").notice.language == "en"


def test_the_proof_shows_the_words_that_stood_beside_the_box() -> None:
    """In the tenant's own version, whatever was approved since; a version that nobody approved shows none."""
    own = replace(text("de"), version=2, body="Ja zu „{purpose}“ von {business}.")
    settings = replace(SETTINGS, consent_texts={**SETTINGS.consent_texts, own.reference: own})
    for version, words in (
        (1, shown(SETTINGS).boxes[0].label),
        (2, "Ja zu „Newsletter“ von Obsthof."),
        (3, None),
    ):
        reference = TextReference(id=SIGNUP, version=version, language="de")
        assert wording(settings, reference, "newsletter", None) == words


@pytest.mark.parametrize(
    ("wanted", "language"),
    [
        ("en", "en"), ("EN-gb", "en"), ("fr,en;q=0.5,de", "en"), ("de-AT,en", "de"), ("fr", "de"), ("", "de"), (None, "de"),
        ("x" * 500, "de"), (",;,", "de"),
    ],
)  # fmt: skip
def test_the_first_language_that_is_spoken(wanted: str | None, language: str) -> None:
    assert language_for(wanted, SETTINGS) == language


@given(st.text(max_size=60))
def test_any_wish_for_a_language_is_answered_with_one_that_is_spoken(wanted: str) -> None:
    assert language_for(wanted, SETTINGS) in LANGUAGES


def test_both_languages_have_all_words_with_the_same_places_to_fill_in() -> None:
    places = {
        language: {name: sorted(re.findall(r"\{\w+\}", words)) for name, words in WORDS[language].items()}
        for language in LANGUAGES
    }
    assert places["de"] == places["en"]
    assert all(words.strip() == words != "" for language in LANGUAGES for words in WORDS[language].values())
    same = [name for name, words in WORDS["de"].items() if words == WORDS["en"][name]]
    assert not same, "somebody forgot to translate"
    assert set(public.SAID) <= set(WORDS["de"])
    assert words_for("de", business="Obst {until}")["title"] == "Nachrichten von Obst {until}"


@pytest.mark.parametrize(
    "link", ["https://wa.me/4930123456?text=sp-073SVM6FNWM0M", "https://t.me/b?start=x" * 5]
)
def test_a_qr_path_draws_every_dark_module_once_inside_a_quiet_margin(link: str) -> None:
    """Read back run by run it is the code of the link."""
    path, width = qr_path(link)
    drawn: list[tuple[int, int]] = []
    assert re.fullmatch(r"(?:M\d+ \d+h\d+v1h-\d+z)+", path)
    for x, y, run, back in re.findall(r"M(\d+) (\d+)h(\d+)v1h-(\d+)z", path):
        assert run == back
        drawn += [(int(x) + n - QUIET_MODULES, int(y) - QUIET_MODULES) for n in range(int(run))]
    matrix = [list(row) for row in segno.make_qr(link, error="m").matrix]
    dark = {(x, y) for y, row in enumerate(matrix) for x, module in enumerate(row) if module}
    assert len(drawn) == len(set(drawn))
    assert set(drawn) == dark
    assert width == len(matrix) + 2 * QUIET_MODULES
    assert f'viewBox="0 0 {width} {width}"' in qr_svg(link)


# The widget's file


def test_the_widget_is_small() -> None:
    assert len(WIDGET.encode()) < WIDGET_MAX_BYTES


def test_the_widget_makes_no_markup_keeps_nothing_and_knows_nobody_else() -> None:
    """What a strict policy forbids and what privacy forbids is not tried."""
    forbidden = (
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|setTimeout|\.style\b|javascript:"
        r"|cookie|localStorage|sessionStorage|indexedDB|sendBeacon|XMLHttpRequest|import\(|createElement\(\"(?:style|script)"
    )
    code = re.sub(r"/\*\*.*?\*/", "", WIDGET, flags=re.DOTALL)
    assert not re.findall(forbidden, code)
    assert re.findall(r"https?://[\w.]+", code) == ["http://www.w3.org"]
    assert max(map(len, WIDGET.splitlines())) <= 130


def test_the_widget_says_what_the_server_says() -> None:
    """The few words it has itself, for when it cannot ask, are those of `words`."""
    for language in LANGUAGES:
        block = re.search(rf"^    {language}: \{{\n(.*?)^    \}},$", WIDGET, re.DOTALL | re.MULTILINE)
        assert block, language
        own = dict(re.findall(r'(\w+): "([^"]*)"', block[1]))
        assert own == {name: WORDS[language][name] for name in ("away", "busy", "again")}
    used = set(re.findall(r"\bwords\.(\w+)", WIDGET))
    assert used <= {*public.SAID, "again"}
