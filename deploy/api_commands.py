"""CLI commands that are calls of the HTTP API of a running instance."""

import os
from pathlib import Path
from typing import Any

import orjson
import typer

from deploy import instance
from deploy.http_client import Answer, call
from schemas.errors import ConfigurationError


def command(data: Path | None, method: str, path: str, role: str, body: Any = None) -> None:
    """Call, print the JSON answer; exit code 1 when the answer is a refusal."""
    _print(ask(data, method, path, role, body))


def issue_token(data: Path | None, tenant: str, role: str, *, replace: bool) -> None:
    """Issue a token, print it. ConfigurationError where that would end the tokens by which an instance calls itself."""
    if replace and data is not None and not os.environ.get("SEALPOST_API_URL"):
        found = instance.require(data)
        if found.tenant == tenant:
            raise ConfigurationError(
                f"the instance itself works with the tokens of {tenant}, which --replace would end; leave it out"
            )
    command(data, "POST", f"/v1/tenants/{tenant}/tokens", "admin", {"role": role, "replace": replace})


def explain(data: Path | None, message: str, *, as_json: bool) -> None:
    """Print what became of a message, one line a step, of a text in parts one a part, the verdict last; exit code 1 when there is
    no such message."""
    answer = ask(data, "GET", f"/v1/messages/{message}/explanation", "agent")
    if as_json or answer.status >= 400:
        _print(answer)
        return
    for step in answer.body["steps"]:
        typer.echo(f"{step['at']}  {step['words']}")
    for part in answer.body.get("parts", ()):
        tries = len(part["attempts"])
        typer.echo(f"Part {part['part'] + 1}, {tries} attempt{'s' * (tries > 1)}: {part['verdict']}")
    typer.echo(answer.body["verdict"])


def timeline(data: Path | None, subject: str, *, as_json: bool) -> None:
    """Print what happened to a person, one line each; exit code 1 when there is no such subject."""
    answer = ask(data, "GET", f"/v1/subjects/{subject}/timeline", "agent")
    if as_json or answer.status >= 400:
        _print(answer)
        return
    if answer.body.get("earlier"):
        typer.echo("(earlier messages are not shown)")
    for item in answer.body["items"]:
        typer.echo(f"{item['at']}  {item['kind']:<12}  {item['words']}  {item.get('name', '')}".rstrip())


def _print(answer: Answer) -> None:
    typer.echo(orjson.dumps(answer.body, option=orjson.OPT_INDENT_2).decode())
    if answer.status >= 400:
        raise typer.Exit(1)


def ask(data: Path | None, method: str, path: str, role: str, body: Any = None) -> Answer:
    """One call with a token of the role."""
    url, token = address(data, role)
    return call(method, url + path, token=token, body=body)


def address(data: Path | None, role: str) -> tuple[str, str]:
    """URL and token from `SEALPOST_API_URL` and `SEALPOST_TOKEN`, or from the instance in the data folder, which has a token of
    the role."""
    url, token = os.environ.get("SEALPOST_API_URL"), os.environ.get("SEALPOST_TOKEN")
    if not url or not token:
        if data is None:
            raise ConfigurationError(
                "give --data DIR of a running instance, or set SEALPOST_API_URL and SEALPOST_TOKEN"
            )
        found = instance.require(data)
        if found.tokens is None:
            raise ConfigurationError(
                "the instance has no tokens yet; let `sealpost up` finish its first start"
            )
        url, token = url or found.api_url, token or getattr(found.tokens, role)
    return url, token
