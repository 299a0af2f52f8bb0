"""`sealpost connections`: provider apps and their accounts. Thin, as all commands are; no secret stands on the command line."""

from typing import Annotated

import typer

from deploy.options import Data, Handle, name

app = typer.Typer(no_args_is_help=True, help="Provider apps and the accounts on them.")
Connection = Annotated[str, typer.Argument(help="The name of the connection.", callback=name)]
Secrets = Annotated[
    str | None,
    typer.Option(help="A JSON file with the secrets, or - for standard input; else they are asked for."),
]
OVERLAP_MAX_H = 30 * 24


@app.command("add")
def connections_add(
    tenant: str,
    channel: str,
    connection: Annotated[
        str,
        typer.Option(
            help="A name of your choice for the provider app; part of the webhook URL.", callback=name
        ),
    ],
    account: Annotated[str, typer.Option(help="The provider's id of the sender.", callback=name)],
    app_id: Annotated[
        str, typer.Option(help="The provider's id of the app, where its webhooks are made out to it.")
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
    secrets: Secrets = None,
    data: Data = None,
) -> None:
    """Connect a provider account and approve it: {"app_secret", "verify_token", "access_token"}, sealed in the vault.

    For a further account of a connection, or a new access token, only the access token is needed.
    """
    from deploy.connecting import Wanted, add
    from deploy.settings import for_command
    from vault.connections import AccountLimits

    limits = AccountLimits(rate, pair_interval, pair_burst)
    for line in add(
        for_command(data),
        Wanted(tenant, channel, connection, account, app_id, api_url, limits, secrets, handle),
    ):
        print(line)


@app.command("list")
def connections_list(data: Data = None) -> None:
    """One JSON line a connection: ids, accounts, the age of its secret, its rotation. Never a secret."""
    from deploy.connecting import lines
    from deploy.settings import for_command

    for line in lines(for_command(data)):
        print(line)


@app.command("test")
def connections_test(
    connection: Connection,
    url: Annotated[
        str, typer.Option(help="Where the provider finds the receiver: https://host, before /webhooks/….")
    ] = "",
    data: Data = None,
) -> None:
    """What works of a connection, in words; nothing is sent to anybody. Exit code 1 when something is missing or wrong."""
    from deploy.connection_check import check
    from deploy.settings import for_command

    wrong = False
    for finding in check(for_command(data), connection, url):
        print(finding.line(), flush=True)
        wrong = wrong or bool(finding.mend)
    raise typer.Exit(int(wrong))


@app.command("rotate-secret")
def connections_rotate_secret(
    connection: Connection,
    overlap: Annotated[
        float,
        typer.Option(help="Hours for which the secret before stays valid.", min=0, max=OVERLAP_MAX_H),
    ] = 24.0,
    finish: Annotated[
        bool, typer.Option("--finish", help="End the rotation: only the current secret is valid.")
    ] = False,
    secrets: Secrets = None,
    data: Data = None,
) -> None:
    """Make a new app secret current: {"app_secret"}. For a while the one before is valid too, so that no webhook is lost."""
    from deploy.connecting import finish as end
    from deploy.connecting import rotate
    from deploy.settings import for_command

    if finish and secrets is not None:
        raise typer.BadParameter("--finish takes no secrets")
    settings = for_command(data)
    for line in end(settings, connection) if finish else rotate(settings, connection, secrets, overlap):
        print(line)
