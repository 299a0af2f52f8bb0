"""A hundred thousand spoiled webhooks through every parser: nothing is raised but what is declared, nothing takes long, nothing
is kept. Through the receiver over HTTP: tests/integration/test_receiver_limits.py and its bombs."""

import gc
import time
from typing import get_args

import psutil

from schemas.clock import boot_s
from tests.fuzz import spoiled_bodies
from tests.unit.channels.connection import Secrets
from workers import registry
from workers.channel import (
    Authenticity,
    ProviderResponse,
    UnparseableBody,
    UnparseableFragment,
    WebhookRequest,
)
from workers.inbound_values import Inbound

INPUTS = 100_000
GROWTH_MAX_BYTES = 64 * 1024 * 1024
INPUT_MAX_S = 1.0
SEED = 20261125
WARM = 1_000
"""Inputs before memory is measured: models are built, and caches filled, by the first ones."""


def take(channel_name: str, body: bytes) -> float:
    """One input through all that reads it; seconds of processor time as a webhook."""
    channel = registry.channel(channel_name)
    channel.classify(ProviderResponse(400, {}, body))
    began = _cpu_s()
    headers = {"authorization": "Bearer a.b.c", "x-hub-signature-256": "sha256=" + "0" * 64, "id": "1"}
    verdict = channel.authenticate(WebhookRequest("POST", {}, headers, body), Secrets())
    assert isinstance(verdict, get_args(Authenticity))
    try:
        fragments = channel.split(body)
    except UnparseableBody:
        return _cpu_s() - began
    for fragment in fragments:
        channel.describe(fragment.raw)
        try:
            values = channel.parse(fragment.raw)
        except UnparseableFragment:
            continue
        assert len(values) <= 1
        assert all(isinstance(value, get_args(Inbound)) for value in values)
    return _cpu_s() - began


def _cpu_s() -> float:
    """Of this thread: others of the process have nothing to do with the input."""
    return time.thread_time()


def test_spoiled_webhooks_raise_nothing_take_no_time_and_leave_nothing() -> None:
    names = registry.channel_names()
    for name in names:
        for body in spoiled_bodies(name, WARM, SEED + 1):
            take(name, body)
    gc.collect()
    gc.freeze()  # what the tests before have left is not searched for garbage in the time of an input
    process, began = psutil.Process(), boot_s()
    before = process.memory_info().rss
    slowest = 0.0
    for name in names:
        for body in spoiled_bodies(name, INPUTS // len(names), SEED):
            slowest = max(slowest, take(name, body))
    gc.unfreeze()
    gc.collect()
    grown = process.memory_info().rss - before
    print(
        f"{INPUTS} inputs in {boot_s() - began:.0f} s; slowest {slowest:.3f} s; {grown / 2**20:.0f} MiB more"
    )
    assert slowest <= INPUT_MAX_S
    assert grown <= GROWTH_MAX_BYTES
