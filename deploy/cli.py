"""The command line. Thin: every command reads its settings, calls one function elsewhere and says what came of it.

Heavy imports stand inside the commands, so that the first line of output does not wait for them.
"""

import os
import re
import sys
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from deploy import connection_commands, signup_commands
from deploy.embedded.launch import no_core_dumps
from deploy.options import Data, Handle, name
from schemas.errors import SealpostError

app = typer.Typer(no_args_is_help=True, add_completion=False)
topics_app = typer.Typer(no_args_is_help=True, help="Topics of the installation.")
tokens_app = typer.Typer(
    no_args_is_help=True, help="What a business's people and programs call the API with."
)
tenant_app = typer.Typer(no_args_is_help=True, help="Businesses that use this installation.")
subject_app = typer.Typer(no_args_is_help=True, help="One person's data.")
events_app = typer.Typer(no_args_is_help=True, help="The log made readable.")
message_app = typer.Typer(no_args_is_help=True, help="One message.")
deadletters_app = typer.Typer(no_args_is_help=True, help="Records that could not be handled.")
app.add_typer(topics_app, name="topics")
app.add_typer(tenant_app, name="tenant")
app.add_typer(tokens_app, name="tokens")
app.add_typer(connection_commands.app, name="connections")
app.add_typer(subject_app, name="subject")
app.add_typer(events_app, name="events")
app.add_typer(message_app, name="message")
app.add_typer(deadletters_app, name="deadletters")
app.add_typer(signup_commands.forms_app, name="forms")
app.add_typer(signup_commands.links_app, name="links")
app.add_typer(signup_commands.purposes_app, name="purposes")
app.add_typer(signup_commands.wording_app, name="wording")

JsonFile = Annotated[str, typer.Argument(help="A file, or - for standard input.")]


def _page(value: str) -> str:
    if re.fullmatch(r"https://[^\s/]+(/\S*)?", value) is None:
        raise typer.BadParameter("must be a page that people can read, https://…")
    return value


class Role(StrEnum):
    """The roles of DESIGN §12, and what only an embedded instance has: the simulated provider and the sandbox page."""

    receiver = "receiver"
    inbound = "inbound"
    api = "api"
    vault = "vault"
    streams = "streams"
    outbound = "outbound"
    projector = "projector"
    clock = "clock"
    simulator = "simulator"
    sandbox = "sandbox"


def _version(wanted: bool) -> None:
    if wanted:
        print(version("sealpost"))
        raise typer.Exit


@app.callback()
def root(
    _version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Sealpost: a message broker that can forget."""


@app.command()
def up(
    tour: Annotated[bool, typer.Option("--tour", help="Walk a person through the whole way.")] = False,
    exit_after_tour: Annotated[
        bool, typer.Option("--exit-after-tour", help="End after the tour; implies --tour.")
    ] = False,
    data: Data = None,
    port_base: Annotated[int, typer.Option(help="First port; 0 = free ports.", min=0, max=65_000)] = 0,
    ready_file: Annotated[Path | None, typer.Option(help="Written once all roles serve (mode 0600).")] = None,
) -> None:
    """Start everything embedded and keep serving until Ctrl-C."""
    print("Sealpost: starting Kafka, PostgreSQL and all roles on this machine …", flush=True)
    from deploy.instance import DEFAULT_DATA
    from deploy.up import Options, run

    folder = (data or Path(DEFAULT_DATA)).resolve()
    raise typer.Exit(run(Options(folder, port_base, ready_file, tour or exit_after_tour, exit_after_tour)))


@app.command()
def doctor(
    production: Annotated[
        bool, typer.Option("--production", help="What of this installation's settings is not for production.")
    ] = False,
    data: Data = None,
) -> None:
    """What is missing on this machine, in words, with the command that mends it. Exit code 1 when something is."""
    from deploy import doctor
    from deploy.settings import for_data

    findings = list(doctor.production(for_data(data), os.environ) if production else doctor.machine(data))
    for finding in findings:
        print(finding.line())
    raise typer.Exit(int(any(finding.mend for finding in findings)))


@app.command("run")
def run_role(role: Role, data: Data = None) -> None:
    """Run one role in the foreground until SIGTERM."""
    from deploy.roles import run
    from deploy.settings import for_data

    raise typer.Exit(run(role.value, for_data(data)))


@topics_app.command("apply")
def topics_apply(data: Data = None) -> None:
    """Make the topics that are missing; refuse what would lose data."""
    from deploy.settings import for_command
    from deploy.setup import apply_topics

    for line in apply_topics(for_command(data)):
        print(line)


@app.command()
def migrate(data: Data = None) -> None:
    """Bring the three databases to this version's schema."""
    from deploy.settings import for_command
    from deploy.setup import apply_migrations

    for line in apply_migrations(for_command(data)):
        print(line)


@app.command()
def times(
    record: Annotated[
        bool, typer.Option("--set", help="Record those of this environment; all roles must be stopped.")
    ] = False,
    data: Data = None,
) -> None:
    """Show the times that all processes of an installation must agree on."""
    from deploy.settings import for_data
    from deploy.setup import installation_times

    for line in installation_times(for_data(data), record=record):
        print(line)


@tenant_app.command("register")
def tenant_register(
    tenant: str,
    name: Annotated[str, typer.Option(help="The business's name, as people read it.")],
    language: Annotated[str, typer.Option(help="Default language: de or en.")] = "de",
    data: Data = None,
) -> None:
    """Register a business; prints its tokens, which are shown only this once. Repeated, it changes nothing and prints none."""
    from deploy.api_commands import command

    body = {"id": tenant, "name": name, "default_language": language}
    command(data, "POST", "/v1/tenants", "admin", body)


@tokens_app.command("issue")
def tokens_issue(
    tenant: Annotated[str, typer.Argument(callback=name)],
    role: Annotated[str, typer.Argument(help="officer, legal, agent, producer or analyst.")],
    replace: Annotated[
        bool,
        typer.Option("--replace", help="End all earlier tokens of this role, also those that nobody knows."),
    ] = False,
    data: Data = None,
) -> None:
    """Issue a further token of a business; prints it, only this once."""
    from deploy.api_commands import issue_token

    issue_token(data, tenant, role, replace=replace)


@tenant_app.command("dpa")
def tenant_dpa(
    tenant: str,
    version: Annotated[str, typer.Option(help="Version of the agreement that was signed.")] = "",
    end: Annotated[bool, typer.Option("--end", help="The agreement has ended.")] = False,
    data: Data = None,
) -> None:
    """Put a data-processing agreement on record, or end it."""
    from deploy.api_commands import command

    if not end and not version:
        raise typer.BadParameter("give --version of the signed agreement, or --end")
    path = f"/v1/tenants/{tenant}/dpa"
    command(data, "DELETE" if end else "POST", path, "admin", None if end else {"version": version})


@tenant_app.command("connect")
def tenant_connect(
    tenant: str,
    channel: str,
    connection: Annotated[
        str,
        typer.Option(
            help="A name of your choice for the provider app; part of the webhook URL.", callback=name
        ),
    ],
    account: Annotated[
        str,
        typer.Option(
            help="The provider's id of the sender (WhatsApp: phone number id, Messenger: page id, Instagram: account id, "
            "Telegram: bot id, Apple: business id).",
            callback=name,
        ),
    ],
    app_secret: Annotated[str, typer.Option(envvar="SEALPOST_APP_SECRET", prompt=True, hide_input=True)],
    verify_token: Annotated[str, typer.Option(envvar="SEALPOST_VERIFY_TOKEN", prompt=True, hide_input=True)],
    access_token: Annotated[str, typer.Option(envvar="SEALPOST_ACCESS_TOKEN", prompt=True, hide_input=True)],
    app_id: Annotated[
        str, typer.Option(help="The provider's id of your app, where its webhooks name it (Apple: MSP id).")
    ] = "",
    api_url: Annotated[
        str, typer.Option(help="The provider's API, where it is not the channel's usual one.")
    ] = "",
    rate: Annotated[float | None, typer.Option(help="Messages a second of this account.", min=0.001)] = None,
    pair_interval: Annotated[
        float | None,
        typer.Option(help="Seconds between messages to one person after the burst; 0: no limit.", min=0),
    ] = None,
    pair_burst: Annotated[
        int | None, typer.Option(help="Messages to one person that may go at once.", min=1)
    ] = None,
    handle: Handle = None,
    data: Data = None,
) -> None:
    """Store a provider account's credentials, sealed, and approve it for the tenant.

    Limits that are left out are what the channel declares; without any, those stored before stay.
    """
    from deploy.settings import for_command
    from deploy.setup import ProviderAccount, connect_account
    from vault.connections import AccountLimits

    limits = AccountLimits(rate, pair_interval, pair_burst)
    wanted = ProviderAccount(
        tenant, channel, connection, account, app_secret, verify_token, access_token, api_url,
        limits=None if limits == AccountLimits() else limits, app_id=app_id, handle=handle,
    )  # fmt: skip
    print(connect_account(for_command(data), wanted))


@tenant_app.command("notice")
def tenant_notice(
    tenant: str,
    language: Annotated[str, typer.Option(help="de or en.")],
    url: Annotated[str, typer.Option(help="Where people read the privacy notice.", callback=_page)],
    version: Annotated[int, typer.Option(help="Counts up with each new wording.", min=1)] = 1,
    data: Data = None,
) -> None:
    """Publish a version of the privacy notice; without one nobody can be asked for consent."""
    from deploy.settings import for_command
    from deploy.setup import publish_notice

    print(publish_notice(for_command(data), tenant, language, url, version))


@tenant_app.command("show")
def tenant_show(tenant: str, data: Data = None) -> None:
    """Show a tenant's published settings."""
    from deploy.settings import for_command
    from deploy.setup import show_tenant

    print(show_tenant(for_command(data), tenant))


@app.command()
def parse(channel: str, file: JsonFile, data: Data = None) -> None:  # noqa: ARG001 - every command takes --data
    """Parse a webhook body: one JSON object per inbound value."""
    from deploy.channel_commands import parse_lines

    for line in parse_lines(channel, _read(file)):
        print(line)


@app.command()
def classify(
    channel: str,
    file: JsonFile,
    status: Annotated[
        int, typer.Option("--status", help="HTTP status of the provider's answer.", min=100, max=599)
    ],
    data: Data = None,  # noqa: ARG001 - every command takes --data
) -> None:
    """Classify a provider's answer: what it means for the message."""
    from deploy.channel_commands import classify_line

    print(classify_line(channel, status, _read(file)))


@subject_app.command("show")
def subject_show(subject: str, data: Data = None) -> None:
    """What is stored of a subject."""
    from deploy.api_commands import command

    command(data, "GET", f"/v1/subjects/{subject}", "officer")


@subject_app.command("timeline")
def subject_timeline(
    subject: Annotated[str, typer.Argument(callback=name)],
    as_json: Annotated[bool, typer.Option("--json", help="The answer as JSON.")] = False,
    data: Data = None,
) -> None:
    """What happened to a person, in order, in words; nothing that was said."""
    from deploy.api_commands import timeline

    timeline(data, subject, as_json=as_json)


@subject_app.command("erase")
def subject_erase(subject: str, data: Data = None) -> None:
    """Erase a subject by destroying their keys."""
    from deploy.api_commands import command

    command(data, "POST", f"/v1/subjects/{subject}/erasure", "officer")


@subject_app.command("lost")
def subject_lost(
    close: Annotated[
        bool, typer.Option("--close", help="Erase them everywhere: no backup of the vault holds their keys.")
    ] = False,
    data: Data = None,
) -> None:
    """List the people whose keys were lost in a restore of the vault; nobody can read what is stored of them."""
    from deploy.recover import lost
    from deploy.settings import for_data

    for line in lost(for_data(data), close=close):
        print(line)


@events_app.command("tail")
def events_tail(
    topics: Annotated[
        list[str] | None, typer.Argument(help="With or without sealpost.; all without any.")
    ] = None,
    subject: Annotated[str, typer.Option(help="Only of this subject.")] = "",
    type_: Annotated[
        str, typer.Option("--type", help="consent.given.v1, or its first parts: consent, consent.given.")
    ] = "",
    begin: Annotated[str, typer.Option("--from", help="start, or a time (RFC 3339); else from now on.")] = "",
    limit: Annotated[int | None, typer.Option(help="End after so many.", min=1, max=100_000)] = None,
    no_follow: Annotated[bool, typer.Option("--no-follow", help="End at the end of the log.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    opened: Annotated[
        bool, typer.Option("--open", help="Open sealed blocks; needs the role agent, and --reason.")
    ] = False,
    reason: Annotated[str, typer.Option(help="A ticket, T-4711; it is logged.")] = "",
    data: Data = None,
) -> None:
    """Events as they land, one line each; sealed blocks as bars with their size and key class."""
    from deploy.event_commands import TailOptions, tail

    if opened != bool(reason):
        raise typer.BadParameter("--open and --reason go together")
    follow = not no_follow
    tail(data, TailOptions(topics or (), subject, type_, begin, limit, follow, reason, as_json))


@message_app.command("explain")
def message_explain(
    message: Annotated[str, typer.Argument(help="The message_id of an answer or a status.", callback=name)],
    as_json: Annotated[bool, typer.Option("--json", help="The answer as JSON.")] = False,
    data: Data = None,
) -> None:
    """What became of a message and why, in sentences: request, permit, provider, statuses, with times and delays."""
    from deploy.api_commands import explain

    explain(data, message, as_json=as_json)


@deadletters_app.command("list")
def deadletters_list(data: Data = None) -> None:
    """One JSON line a dead letter: where from, why, until when it can be replayed. Never its content."""
    from deploy.deadletters import lines
    from deploy.settings import for_command

    for line in lines(for_command(data)):
        print(line)


@app.command()
def recover(
    role: Annotated[
        str | None, typer.Argument(help="The role to set; without it all positions are shown.")
    ] = None,
    to: Annotated[
        str | None, typer.Option(help="start, end, kafka (the group's offsets), or accept (as stored).")
    ] = None,
    data: Data = None,
) -> None:
    """Show where each role stands in the log; set a role's positions after a restore, when you have chosen."""
    from deploy.recover import recover_role, show
    from deploy.settings import for_command

    settings = for_command(data)
    for line in show(settings) if role is None else recover_role(settings, role, to):
        print(line)


def _read(file: str) -> bytes:
    if file == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"cannot read {file}: {error.strerror}") from None


def main() -> None:
    """Entry point: errors of Sealpost are told in words, without a traceback."""
    no_core_dumps()
    try:
        app()
    except SealpostError as error:
        advice = (type(error).__doc__ or "").strip()
        print(f"sealpost: {error}\n{advice}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
