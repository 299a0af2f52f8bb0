"""The words of one of Sealpost's own texts as a person reads them: business, purpose and privacy notice filled in.

Outbound sends them, the query API shows them: one function, so that what is shown is what was sent.
"""

from schemas import texts
from schemas.content import TextReference
from schemas.settings import ConsentText, Notice, TenantSettings

NOTICE_LINE = TextReference(id="notice_line", version=1, language="de")
PREFERENCES_SHOWN = "…"
"""Stands for the link to the preference page where the words are shown and not sent: the link is a key for one day."""


def wording(
    settings: TenantSettings,
    text: TextReference,
    purpose: str,
    notice: str | None,
    preferences_url: str = PREFERENCES_SHOWN,
) -> str | None:
    """Render a text for a tenant. `purpose` is what the text speaks of, `notice` a notice's reference (`id/version/language`).

    A text that names a notice and has no place for it shows it in a line of its own. What stood beside the box of a sign-up is
    the tenant's own. None when this version does not know the text, or when the text shows a notice and the tenant has published
    none.
    """
    own = settings.consent_texts.get(f"{text.id}/{text.version}/{text.language}")
    if own is not None:
        return signup_wording(settings, own, purpose)
    shown = notice_of(settings, notice, text.language)
    variables = {
        "business": settings.name,
        "purpose": settings.purpose_name(purpose, text.language),
        "preferences_url": preferences_url,
        **({"notice_url": shown.url} if shown else {}),
    }
    try:
        words = texts.render(text.id, text.version, text.language, variables)
        if notice is not None and not texts.shows_notice(text.id, text.version, text.language):
            words += "\n" + texts.render(NOTICE_LINE.id, NOTICE_LINE.version, text.language, variables)
    except KeyError:
        return None
    return words


def notice_of(settings: TenantSettings, reference: str | None, language: str) -> Notice | None:
    """The notice a reference names, whatever was published since; without a reference the one to show in a language."""
    return settings.notice_history.get(reference or "") or settings.notice_for(language)


def signup_wording(settings: TenantSettings, text: ConsentText, purpose: str) -> str:
    """What stands beside the box of a purpose on a sign-up form. A word in braces that is not known is left as it stands."""
    name = settings.purpose_name(purpose, text.language)
    return text.body.replace("{business}", settings.name).replace("{purpose}", name)
