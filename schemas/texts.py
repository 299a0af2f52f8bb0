"""The words Sealpost itself says to a person, in German and English, and the keywords by which a person is understood.

Events name a text by id, version and language; the words are rendered by outbound at the last moment. A changed wording is
a new version: old versions stay, for they are what a person once agreed to. The consent question holds no advertising.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

LANGUAGES = ("de", "en")
Language = Literal["de", "en"]
Intent = Literal["start", "stop", "yes", "no", "preferences"]

TEXTS: Mapping[str, Mapping[int, Mapping[str, str]]] = {
    "consent_question": {
        1: {
            "de": "Möchten Sie Nachrichten zum Thema „{purpose}“ von {business} in diesem Chat erhalten?"
            " Bitte lesen Sie zuerst die Datenschutzhinweise: {notice_url}\n"
            "Antworten Sie JA, um zuzustimmen, oder NEIN. Mit STOPP können Sie jederzeit widerrufen.",
            "en": "Would you like to receive messages about “{purpose}” from {business} in this chat?"
            " Please read the privacy notice first: {notice_url}\n"
            "Answer YES to agree, or NO. You can withdraw at any time with STOP.",
        }
    },
    "welcome": {
        1: {
            "de": "Danke, Ihre Anmeldung ist bestätigt. Mit STOPP melden Sie sich jederzeit wieder ab.",
            "en": "Thank you, your sign-up is confirmed. You can unsubscribe at any time with STOP.",
        }
    },
    "welcome_first": {
        1: {
            "de": "Danke, Ihre Anmeldung bei {business} ist bestätigt."
            " Die Datenschutzhinweise stehen hier: {notice_url}\nMit STOPP melden Sie sich jederzeit wieder ab.",
            "en": "Thank you, your sign-up with {business} is confirmed."
            " The privacy notice is here: {notice_url}\nYou can unsubscribe at any time with STOP.",
        }
    },
    "notice_line": {
        1: {"de": "Datenschutzhinweise: {notice_url}", "en": "Privacy notice: {notice_url}"},
    },
    "preferences": {
        1: {
            "de": "Hier sehen und ändern Sie Ihre Einwilligungen bei {business}: {preferences_url}\n"
            "Der Link gilt einen Tag. Mit STOPP melden Sie sich von allem ab.",
            "en": "Here you see and change what you have agreed to with {business}: {preferences_url}\n"
            "The link works for one day. STOP ends everything.",
        }
    },
    "signup": {
        1: {
            "de": "Ich möchte Nachrichten zum Thema „{purpose}“ von {business} erhalten und willige dafür in die Nutzung meiner"
            " Daten ein. Ich kann jederzeit mit STOPP widerrufen.",
            "en": "I would like to receive messages about “{purpose}” from {business} and agree to my data being used for that."
            " I can withdraw at any time with STOP.",
        }
    },
    "already": {
        1: {
            "de": "Sie sind bereits angemeldet. Mit STOPP melden Sie sich jederzeit ab.",
            "en": "You are subscribed already. STOP ends it at any time.",
        }
    },
    "refused": {
        1: {
            "de": "In Ordnung, Sie erhalten keine Nachrichten dieser Art von uns.",
            "en": "All right, you will not receive messages of this kind from us.",
        }
    },
    "stopped": {
        1: {
            "de": "Sie sind abgemeldet und erhalten keine weiteren Nachrichten dieser Art. Mit START melden Sie sich neu an.",
            "en": "You are unsubscribed and will receive no more messages of this kind. Write START to sign up again.",
        }
    },
}

PURPOSE_NAMES: Mapping[str, Mapping[str, str]] = {
    "newsletter": {"de": "Newsletter", "en": "newsletter"},
    "service": {"de": "Service", "en": "service"},
}

KEYWORDS: Mapping[Intent, Mapping[str, str | None]] = {
    "start": {"start": None, "anmelden": "de", "subscribe": "en"},
    "stop": {
        "stop": None, "stopp": "de", "abmelden": "de", "abbestellen": "de", "unsubscribe": "en", "end": "en", "quit": "en",
    },
    "preferences": {"einstellungen": "de", "einwilligungen": "de", "preferences": "en", "settings": "en"},
    "yes": {"ja": "de", "yes": "en"},
    "no": {"nein": "de", "no": "en"},
}  # fmt: skip
"""Keyword → the language it shows, or None when both languages use it."""

NEGATIONS = frozenset(
    ("nicht", "kein", "keine", "keinen", "nie", "niemals", "not", "don't", "dont", "never", "none")
)
"""Words that turn a prepared yes into its opposite."""
LATEST = {text: max(versions) for text, versions in TEXTS.items()}
_PUNCTUATION = " \t\r\n.!?,;:\"'„“”‚‘’()*_/"
"""Around a keyword, not part of it. The stroke is how commands begin where people press a button for them: `/start`, `/stop`."""


_WORDS = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")


@dataclass(frozen=True, slots=True)
class Recognised:
    """What a message asks for, and the language the keyword shows (None when it shows none)."""

    intent: Intent
    language: str | None


def recognise(text: str) -> Recognised | None:
    """Find the intent of a whole message: one keyword, whatever its case and surrounding punctuation; else None."""
    word = text.strip(_PUNCTUATION).casefold()
    for intent, words in KEYWORDS.items():
        if word in words:
            return Recognised(intent, words[word])
    return None


def refusal_in(text: str) -> Recognised | None:
    """A stop or a no anywhere in words that stand beside a token: whoever changes a prepared yes like that has not said it."""
    said = [word.casefold() for word in _WORDS.findall(text)]
    for intent in ("stop", "no"):
        for word in said:
            if word in KEYWORDS[intent]:
                return Recognised(intent, KEYWORDS[intent][word])
    return Recognised("no", None) if NEGATIONS.intersection(said) else None


def render(text: str, version: int, language: str, variables: Mapping[str, str]) -> str:
    """The words of a text; KeyError when text, version, language or a variable is unknown."""
    return TEXTS[text][version][language].format_map(variables)


def shows_notice(text: str, version: int, language: str) -> bool:
    """Whether a text has a place for the privacy notice; KeyError when it is unknown."""
    return "{notice_url}" in TEXTS[text][version][language]


def purpose_name(purpose: str, language: str) -> str:
    """How a purpose is called in a sentence; a tenant's own purpose by its id."""
    return PURPOSE_NAMES.get(purpose, {}).get(language, purpose)
