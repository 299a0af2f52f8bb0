"""Whose a fragment is where webhooks name no account: the connection's only one."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from vault.connections import Connection
from workers import registry
from workers.channel import Channel, Fragment
from workers.receiver.webhooks import NO_ACCOUNT, NotStored, addressed

WHATSAPP = registry.channel("whatsapp")
SILENT = cast(
    "Channel",
    SimpleNamespace(capabilities=replace(WHATSAPP.capabilities, names_account=False)),
)
FRAGMENTS = [Fragment("", "1", {"n": 1}), Fragment("", "2", {"n": 2})]


def connection(**accounts: Any) -> Connection:
    return Connection("conn-1", "acme", "silent", "secret", "", b"r" * 32, accounts)


def test_a_channel_that_names_accounts_is_left_alone() -> None:
    """News about the whole connection stay without an account; what names one keeps it."""
    news = [Fragment("", "", {"n": 1}), Fragment("other", "2", {"n": 2})]
    assert addressed(WHATSAPP, connection(one="1"), news) == news
    assert addressed(WHATSAPP, connection(one="1", two="2"), FRAGMENTS) == FRAGMENTS
    assert addressed(WHATSAPP, connection(), FRAGMENTS) == FRAGMENTS


def test_what_a_person_did_is_the_only_accounts_where_the_provider_leaves_it_out() -> None:
    """Apple does, when somebody closes the chat."""
    found = addressed(WHATSAPP, connection(one="1"), FRAGMENTS)
    assert [fragment.account_ref for fragment in found] == ["one", "one"]


def test_the_only_account_gets_everything() -> None:
    found = addressed(SILENT, connection(one="1"), FRAGMENTS)
    assert found == [replace(fragment, account_ref="one") for fragment in FRAGMENTS]


def test_without_an_account_nothing_is_taken_for_somebodys() -> None:
    """It is looked up as an account that is not known (yet)."""
    assert {fragment.account_ref for fragment in addressed(SILENT, connection(), FRAGMENTS)} == {NO_ACCOUNT}


def test_with_several_nobody_can_say_whose_it_is() -> None:
    """It is not stored, so the provider repeats it."""
    with pytest.raises(NotStored):
        addressed(SILENT, connection(one="1", two="2"), FRAGMENTS)
