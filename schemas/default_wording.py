"""The wording every tenant starts with: a privacy notice in German and English, and what stands beside the box of a sign-up.

Both are drafts until an officer of the tenant approves them: whoever is named in square brackets must be filled in, which means
publishing a version of one's own. Sources: GDPR Art. 13; privacy.md, requirements R1–R16.
"""

from collections.abc import Mapping
from hashlib import sha256

from schemas.texts import TEXTS, Language

NOTICE = "privacy"
NOTICE_VERSION = 1
SIGNUP = "signup"
SIGNUP_VERSION = 1

NOTICES: Mapping[Language, str] = {
    "de": """Datenschutzhinweise für Nachrichten von {business}

Verantwortlich: {business}, [Anschrift, E-Mail, Vertretung; Datenschutzbeauftragte: Kontakt].

Wofür wir Ihre Daten nutzen. Wenn Sie uns in einem Messenger schreiben, verarbeiten wir die Kennung, unter der Sie uns
schreiben (je nach Dienst eine Telefonnummer oder eine Nutzerkennung), Ihren Profilnamen, Ihre Nachrichten und die
Zustellzeichen unserer Antworten, um Ihr Anliegen zu bearbeiten (Art. 6 Abs. 1 lit. b DSGVO). Werbliche Nachrichten,
etwa einen Newsletter, erhalten Sie nur, wenn Sie eingewilligt haben (Art. 6 Abs. 1 lit. a DSGVO, § 7 UWG). Die
Einwilligung gilt je Thema und je Dienst.

Nachweis. Ihre Einwilligung halten wir mit Wortlaut, Zeitpunkt und der Bestätigung aus dem Chat fest, weil wir sie
nachweisen müssen (Art. 7 Abs. 1 DSGVO).

Widerruf. Sie können jederzeit widerrufen: schreiben Sie STOPP in den Chat, oder ändern Sie Ihre Einwilligungen auf
der Seite, deren Link Sie mit dem Wort EINSTELLUNGEN bekommen. Was bis dahin geschehen ist, bleibt rechtmäßig.

Empfänger. Nachrichten laufen über den Anbieter des Messengers, den Sie gewählt haben [Namen, Sitz und Grundlage einer
Übermittlung in ein Drittland]. Wir betreiben die Vermittlung mit Sealpost [auf eigenen Rechnern / bei:
Auftragsverarbeiter].

Dauer. Inhalte von Nachrichten [90 Tage], Zustellzeichen [13 Monate], der Nachweis einer Einwilligung bis zum Ende des
dritten Jahres nach ihrem Ende. Danach, oder auf Ihren Wunsch schon vorher, vernichten wir die Schlüssel, ohne die
niemand Ihre Daten lesen kann.

Ihre Rechte: Auskunft, Berichtigung, Löschung, Einschränkung, Übertragung, Widerspruch; Beschwerde bei einer
Aufsichtsbehörde [zuständige Behörde]. Eine automatisierte Entscheidung im Einzelfall findet nicht statt. Ein Teil der
Antworten kommt von einem Automaten, der sich als solcher zu erkennen gibt.
""",
    "en": """Privacy notice for messages from {business}

Controller: {business}, [address, e-mail, representative; data protection officer: contact].

What we use your data for. When you write to us in a messenger we process the id under which you write (a phone number
or a user id, depending on the service), your profile name, your messages and the delivery marks of our answers, to
deal with what you ask for (GDPR Art. 6(1)(b)). You receive advertising, a newsletter for example, only if you have
consented (GDPR Art. 6(1)(a)). Consent is given for each subject and each service by itself.

Proof. We keep your consent with its wording, its time and the confirmation from the chat, because we must be able to
prove it (GDPR Art. 7(1)).

Withdrawal. You can withdraw at any time: write STOP in the chat, or change what you have agreed to on the page whose
link you get with the word PREFERENCES. What was done until then remains lawful.

Recipients. Messages go through the provider of the messenger that you have chosen [names, seats, and the ground of a
transfer to a third country]. We run the exchange with Sealpost [on machines of our own / at: processor].

Period. Contents of messages [90 days], delivery marks [13 months], the proof of a consent until the end of the third
year after it ended. After that, or earlier if you ask for it, we destroy the keys without which nobody can read your
data.

Your rights: access, rectification, erasure, restriction, portability, objection; complaint to a supervisory authority
[which]. There is no automated decision about you. Some answers come from an automaton, which says that it is one.
""",
}
"""`{business}` is filled in when it is shown; the hash is that of the words as they stand here."""

SIGNUPS: Mapping[Language, str] = {
    "de": TEXTS[SIGNUP][SIGNUP_VERSION]["de"],
    "en": TEXTS[SIGNUP][SIGNUP_VERSION]["en"],
}


def wording_hash(body: str) -> str:
    """SHA-256 of a text (hex), which events carry and officers approve."""
    return sha256(body.encode()).hexdigest()
