"""What the pages and the widget say, in German and English."""

from collections.abc import Mapping

WORDS: Mapping[str, Mapping[str, str]] = {
    "de": {
        "title": "Nachrichten von {business}",
        "draft": "Ja, {business} darf mir schreiben: {purposes}. Code:",
        "draft_link": "Hallo {business}, ich komme über Ihren Link. Code:",
        "intro": "Kreuzen Sie an, was Sie erhalten möchten. Danach schreiben Sie uns zuerst: erst Ihre Nachricht bestätigt die"
        " Anmeldung.",
        "notice_accept": "Ich habe die Datenschutzhinweise gelesen und akzeptiere sie.",
        "notice": "Datenschutzhinweise",
        "notice_opens": "(öffnet eine neue Seite)",
        "next": "Weiter",
        "wait": "Einen Moment …",
        "again": "Noch einmal versuchen",
        "choose": "Bitte kreuzen Sie mindestens ein Thema an und bestätigen Sie die Datenschutzhinweise.",
        "write_title": "Jetzt schreiben Sie uns",
        "write": "Öffnen Sie den Chat und senden Sie die vorbereitete Nachricht ab, oder tippen Sie dort auf Start. Damit ist"
        " Ihre Anmeldung bestätigt.",
        "open": "{channel} öffnen",
        "scan": "Oder scannen Sie den Code mit dem Telefon:",
        "qr": "QR-Code, der {channel} öffnet",
        "until": "Der Link gilt einmal und bis {until}. Schreiben Sie nicht, passiert nichts, und wir vergessen die Anmeldung.",
        "away": "Das geht gerade nicht. Bitte versuchen Sie es in einer Minute noch einmal.",
        "busy": "Zu viele Versuche. Bitte warten Sie ein paar Minuten.",
        "unavailable": "Dieses Formular ist zurzeit nicht verfügbar.",
        "no_page": "Diese Seite gibt es nicht.",
        "changed": "Das Formular hat sich geändert. Bitte lesen Sie es noch einmal.",
        "preferences": "Ihre Einwilligungen",
        "preferences_intro": "Hier sehen Sie, wozu Sie {business} Ihre Einwilligung gegeben haben, und können sie ändern.",
        "given": "Eingewilligt seit {since}",
        "not_given": "Keine Einwilligung",
        "withdraw": "Widerrufen",
        "withdraw_named": "Einwilligung widerrufen: {purpose}, {channel}",
        "withdraw_all": "Alles widerrufen",
        "withdrawn": "Widerrufen. Sie erhalten dazu keine Nachrichten mehr.",
        "give": "Anmelden",
        "over": "Dieser Link gilt nicht mehr. Schreiben Sie EINSTELLUNGEN in den Chat, dann bekommen Sie einen neuen.",
        "nothing": "Es gibt zurzeit kein Thema, das Ihre Einwilligung braucht.",
        "yours": "Was Sie hier sehen, gilt nur für Sie: geben Sie den Link nicht weiter.",
    },
    "en": {
        "title": "Messages from {business}",
        "draft": "Yes, {business} may write to me: {purposes}. Code:",
        "draft_link": "Hello {business}, I come by your link. Code:",
        "intro": "Tick what you would like to receive. Then you write to us first: only your message confirms the sign-up.",
        "notice_accept": "I have read the privacy notice and accept it.",
        "notice": "Privacy notice",
        "notice_opens": "(opens a new page)",
        "next": "Continue",
        "wait": "One moment …",
        "again": "Try again",
        "choose": "Please tick at least one subject and accept the privacy notice.",
        "write_title": "Now you write to us",
        "write": "Open the chat and send the message that is prepared there, or press Start. That confirms your sign-up.",
        "open": "Open {channel}",
        "scan": "Or scan the code with your phone:",
        "qr": "QR code that opens {channel}",
        "until": "The link works once, until {until}. If you do not write, nothing happens and we forget the sign-up.",
        "away": "That does not work right now. Please try again in a minute.",
        "busy": "Too many attempts. Please wait some minutes.",
        "unavailable": "This form is not available at the moment.",
        "no_page": "There is no such page.",
        "changed": "The form has changed. Please read it once more.",
        "preferences": "What you have agreed to",
        "preferences_intro": "Here you see what you have agreed to with {business}, and can change it.",
        "given": "Agreed since {since}",
        "not_given": "Not agreed",
        "withdraw": "Withdraw",
        "withdraw_named": "Withdraw consent: {purpose}, {channel}",
        "withdraw_all": "Withdraw everything",
        "withdrawn": "Withdrawn. You will receive no more messages about it.",
        "give": "Sign up",
        "over": "This link works no more. Write PREFERENCES in the chat, and you get a new one.",
        "nothing": "There is nothing at the moment that needs your consent.",
        "yours": "What you see here is for you alone: do not pass the link on.",
    },
}


def words_for(language: str, **filled: str) -> dict[str, str]:
    """All words of a language, with `{business}` and what else is given filled in; other braces stay for later."""
    found = dict(WORDS[language])
    for name, value in filled.items():
        found = {key: text.replace("{" + name + "}", value) for key, text in found.items()}
    return found
