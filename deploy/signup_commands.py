"""Commands about signing up: forms, links, the words people are shown. All of them are calls of the HTTP API."""

from pathlib import Path
from typing import Annotated, Any

import typer

from deploy.options import Data

forms_app = typer.Typer(no_args_is_help=True, help="Sign-up forms.")
purposes_app = typer.Typer(no_args_is_help=True, help="What messages may be for.")
links_app = typer.Typer(no_args_is_help=True, help="Click-to-chat links of campaigns.")
wording_app = typer.Typer(no_args_is_help=True, help="Privacy notices and consent texts.")


def _call(data: Path | None, method: str, path: str, role: str, body: Any = None) -> None:
    from deploy.api_commands import command

    command(data, method, path, role, body)


@purposes_app.command("define")
def purpose_define(
    purpose: str,
    basis: Annotated[str, typer.Option(help="consent, contract or legitimate_interest")],
    de: Annotated[str, typer.Option(help="What people read in German.")],
    en: Annotated[str, typer.Option(help="What people read in English.")],
    data: Data = None,
) -> None:
    """Say what messages may be for. Needs a token of role officer."""
    body = {"purpose": purpose, "legal_basis": basis, "names": {"de": de, "en": en}}
    _call(data, "POST", "/v1/purposes", "officer", body)


@forms_app.command("create")
def form_create(
    purpose: Annotated[list[str], typer.Option(help="What people may tick; repeat for several.")],
    account: Annotated[
        list[str] | None, typer.Option(help="Accounts to write to; all that can be when left out.")
    ] = None,
    origin: Annotated[
        list[str] | None, typer.Option(help="Sites that embed the widget: https://www.example.org")
    ] = None,
    campaign: Annotated[str | None, typer.Option(help="A word that the events keep.")] = None,
    data: Data = None,
) -> None:
    """Make a sign-up form: its page, and the one script tag that embeds it. Needs a token of role officer."""
    body = {"purposes": purpose, "accounts": account or [], "origins": origin or [], "campaign": campaign}
    _call(data, "POST", "/v1/forms", "officer", body)


@forms_app.command("list")
def form_list(data: Data = None) -> None:
    """The forms, and why one shows nothing, if so."""
    _call(data, "GET", "/v1/forms", "officer")


@forms_app.command("end")
def form_end(form: str, data: Data = None) -> None:
    """End a form."""
    _call(data, "DELETE", f"/v1/forms/{form}", "officer")


@links_app.command("create")
def link_create(
    account: Annotated[str, typer.Option(help="The account that people shall write to.")],
    campaign: Annotated[str, typer.Option(help="A word that the events keep.")],
    purpose: Annotated[str | None, typer.Option(help="What they are asked for; else as START.")] = None,
    days: Annotated[int | None, typer.Option(help="Ends after so many days.", min=1)] = None,
    data: Data = None,
) -> None:
    """Make a click-to-chat link with its QR code (SVG). Who follows it is asked for consent in the chat. Needs role officer."""
    body = {"account": account, "campaign": campaign, "purpose": purpose, "expires_in_days": days}
    _call(data, "POST", "/v1/links", "officer", body)


@links_app.command("end")
def link_end(link: str, data: Data = None) -> None:
    """End a link."""
    _call(data, "DELETE", f"/v1/links/{link}", "officer")


@wording_app.command("list")
def wording_list(data: Data = None) -> None:
    """Every version of notices and consent texts; `approved` false is a draft, shown to nobody."""
    _call(data, "GET", "/v1/wordings", "officer")


@wording_app.command("approve")
def wording_approve(
    kind: Annotated[str, typer.Argument(help="notice or text")],
    reference: Annotated[str, typer.Argument(help="As the list shows it: privacy/1/de")],
    data: Data = None,
) -> None:
    """Approve a draft as it reads. Needs a token of role officer."""
    _call(data, "POST", "/v1/wordings/approval", "officer", {"kind": kind, "reference": reference})


@wording_app.command("publish")
def wording_publish(
    kind: Annotated[str, typer.Argument(help="notice or text")],
    language: Annotated[str, typer.Argument(help="de or en")],
    version: Annotated[
        int, typer.Argument(help="Counts up with each new wording; 1 is Sealpost's own.", min=2)
    ],
    file: Annotated[Path, typer.Argument(help="The words, UTF-8.", exists=True, dir_okay=False)],
    url: Annotated[str | None, typer.Option(help="Where the notice stands, when not at Sealpost.")] = None,
    data: Data = None,
) -> None:
    """Publish a notice or text in the business's own words. Needs a token of role officer."""
    body = {
        "kind": kind,
        "language": language,
        "version": version,
        "body": file.read_text(encoding="utf-8"),
        "url": url,
    }
    _call(data, "POST", "/v1/wordings", "officer", body)
