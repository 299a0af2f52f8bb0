"""CLI commands that are calls of the HTTP API of a running instance."""

import os
from pathlib import Path
from typing import Any

import orjson
import typer

from deploy import instance
from deploy.http_client import call
from schemas.errors import ConfigurationError


def command(data: Path | None, method: str, path: str, role: str, body: Any = None) -> None:
    """Call, print the JSON answer; exit code 1 when the answer is a refusal.

    Address and token come from `SEALPOST_API_URL` and `SEALPOST_TOKEN`, or from the instance in the data folder.
    """
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
    answer = call(method, url + path, token=token, body=body)
    typer.echo(orjson.dumps(answer.body, option=orjson.OPT_INDENT_2).decode())
    if answer.status >= 400:
        raise typer.Exit(1)
