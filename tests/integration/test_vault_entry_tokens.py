"""Tokens of forms and links in the vault's real database: who uses one first, who repeats it, who comes late."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest.mock import patch

import pytest

from schemas.clock import now_ms
from schemas.entry_tokens import make_token, token_hash
from schemas.ids import random_id
from tests.embedded_fixtures import PostgresServer
from tests.vault_world import Tenant, World
from vault.entry_tokens import TokenKind, TokenUse, UsedToken

FACTS: dict[str, Any] = {"form": "f" * 32, "purposes": [{"purpose": "newsletter", "optin": "1" * 32}]}
LATER_MS, DAY_MS = 60_000, 86_400_000


@pytest.fixture(scope="module")
def world(postgres_server: PostgresServer) -> Iterator[World]:
    made = World.make(postgres_server.fresh_database("vault"))
    yield made
    made.vault.close()


@pytest.fixture
def tenant(world: World) -> Tenant:
    return world.tenant()


def made(
    tenant: Tenant, kind: TokenKind = "form", ends_in_ms: int | None = LATER_MS, origin: str = "o"
) -> bytes:
    """A token's hash, recorded; it ends so many ms from now."""
    token, vault = token_hash(make_token()), tenant.world.vault
    expires = None if ends_in_ms is None else now_ms() + ends_in_ms
    with vault.transaction() as cursor:
        vault.add_entry_token(cursor, tenant.name, token, kind, origin, FACTS, expires)
    return token


def used(tenant: Tenant, *uses: TokenUse) -> list[UsedToken | None]:
    """One step that uses tokens."""
    with tenant.world.vault.transaction() as cursor:
        return tenant.world.vault.use_entry_tokens(cursor, uses)


def use(tenant: Tenant, token: bytes, act: str | None = None, at_ms: int | None = None) -> TokenUse:
    """A message with the token."""
    return TokenUse(tenant.name, token, act or random_id(), now_ms() if at_ms is None else at_ms)


def outcomes(answers: list[UsedToken | None]) -> list[str | None]:
    return [answer.outcome if answer is not None else None for answer in answers]


def test_a_forms_token_opens_once_and_the_same_message_gets_the_same_answer(tenant: Tenant) -> None:
    token = made(tenant)
    first, second = use(tenant, token), use(tenant, token)
    assert used(tenant, first) == [UsedToken("form", "fresh", FACTS)]
    assert outcomes(used(tenant, second)) == ["used"]
    assert outcomes(used(tenant, first)) == ["fresh"]


def test_of_two_messages_in_one_step_the_first_opens(tenant: Tenant) -> None:
    """With repetitions, another token and one that nobody made between them; answers stand in the order of the uses."""
    token, other = made(tenant), made(tenant, "api")
    first, second = use(tenant, token), use(tenant, token)
    nobodys = use(tenant, token_hash(make_token()))
    asked = (first, use(tenant, other), second, nobodys, first)
    assert outcomes(used(tenant, *asked)) == ["fresh", "fresh", "used", None, "fresh"]
    assert outcomes(used(tenant, second, first)) == ["used", "fresh"]


def test_two_processes_at_once_open_one_token_once(tenant: Tenant) -> None:
    for _ in range(5):
        token = made(tenant)
        with ThreadPoolExecutor(4) as pool:
            found = pool.map(lambda _, token=token: outcomes(used(tenant, use(tenant, token)))[0], range(8))
        assert sorted(map(str, found)) == ["fresh"] + ["used"] * 7


def test_a_link_opens_as_often_as_it_is_followed(tenant: Tenant) -> None:
    token = made(tenant, "link", None)
    assert outcomes(used(tenant, *(use(tenant, token) for _ in range(3)))) == ["fresh"] * 3
    assert outcomes(used(tenant, use(tenant, token))) == ["fresh"]


@pytest.mark.parametrize("kind", ["form", "api", "link"])
def test_after_its_end_a_token_opens_nothing(tenant: Tenant, kind: TokenKind) -> None:
    """What counts is the time of the person's act: one that was written in time counts though it is handled late."""
    token, end = made(tenant, kind, -1_000), now_ms() - 1_000
    assert outcomes(used(tenant, use(tenant, token))) == ["expired"]
    assert outcomes(used(tenant, use(tenant, token, at_ms=end + 500))) == ["expired"]
    assert outcomes(used(tenant, use(tenant, token, at_ms=end - 60_000))) == ["fresh"]


def test_a_message_that_used_a_token_in_time_is_answered_so_after_its_end(tenant: Tenant) -> None:
    token = made(tenant, origin="ending")
    first = use(tenant, token)
    assert outcomes(used(tenant, first)) == ["fresh"]
    end(tenant, "ending")
    assert outcomes(used(tenant, first._replace(at_ms=now_ms() + LATER_MS))) == ["fresh"]


def end(tenant: Tenant, origin: str) -> None:
    """End a form or link now."""
    with tenant.world.vault.transaction() as cursor:
        tenant.world.vault.end_entry_tokens(cursor, tenant.name, origin, now_ms())


def test_the_end_of_a_form_ends_its_tokens_and_no_others(tenant: Tenant) -> None:
    """A link without an end gets one; one that ended before does not live longer; another tenant's stay."""
    form, link, other = made(tenant, origin="a"), made(tenant, "link", None, "a"), made(tenant, origin="b")
    over = made(tenant, ends_in_ms=-5_000, origin="a")
    neighbour = tenant.world.tenant()
    neighbours = made(neighbour, origin="a")
    end(tenant, "a")
    at = now_ms() + 1
    asked = [use(tenant, token, at_ms=at) for token in (form, link, other)]
    assert outcomes(used(tenant, *asked)) == ["expired", "expired", "fresh"]
    assert outcomes(used(tenant, use(tenant, over, at_ms=at - 1_000))) == ["expired"]
    assert outcomes(used(neighbour, use(neighbour, neighbours, at_ms=at))) == ["fresh"]


def test_another_tenants_token_is_nobodys_and_stays_good(tenant: Tenant) -> None:
    other = tenant.world.tenant()
    token = made(other)
    assert used(tenant, use(tenant, token)) == [None]
    assert outcomes(used(other, use(other, token))) == ["fresh"]


class Undone(Exception):
    """The step fails."""


def used_in_vain(tenant: Tenant, token: bytes) -> None:
    """A step that uses a token, and fails."""
    vault = tenant.world.vault
    with vault.transaction() as cursor:
        assert outcomes(vault.use_entry_tokens(cursor, [use(tenant, token)])) == ["fresh"]
        raise Undone


def test_a_step_that_is_taken_back_has_used_nothing(tenant: Tenant) -> None:
    token = made(tenant)
    with pytest.raises(Undone):
        used_in_vain(tenant, token)
    assert outcomes(used(tenant, use(tenant, token))) == ["fresh"]


def buried(tenant: Tenant, after_ms: int = 0) -> dict[TokenKind, int]:
    """Keep house, so many ms from now; the opt-ins of the tenant that died."""
    at = now_ms() + after_ms
    with patch("vault.entry_tokens.now_ms", lambda: at):
        died = tenant.world.vault.bury_entry_tokens()
    return {kind: count for (name, kind), count in died.items() if name == tenant.name}


def test_opt_ins_that_nobody_confirmed_are_counted_once_at_their_end(tenant: Tenant) -> None:
    """Not those that were used, no links, none that lives, none of another tenant."""
    tokens = [made(tenant) for _ in range(3)]
    made(tenant, "api")
    made(tenant, "link")
    made(tenant, "link", None)
    made(tenant, ends_in_ms=10 * LATER_MS)
    made(tenant.world.tenant())
    assert outcomes(used(tenant, use(tenant, tokens[0]))) == ["fresh"]
    assert buried(tenant) == {}
    assert buried(tenant, LATER_MS + 1_000) == {"form": 2, "api": 1}
    assert buried(tenant, LATER_MS + 1_000) == {}


@pytest.mark.parametrize("lag_ms", [0, 7 * DAY_MS, 9 * DAY_MS - LATER_MS])
def test_a_message_written_in_time_and_handled_after_the_end_signs_up(tenant: Tenant, lag_ms: int) -> None:
    """Its fragment may lie unread for as long as the inbound topics keep it; what was ticked is known all the while."""
    token = made(tenant)
    in_time, late = use(tenant, token), use(tenant, token, at_ms=now_ms() + LATER_MS)
    buried(tenant, LATER_MS + lag_ms)
    assert used(tenant, late, in_time) == [
        UsedToken("form", "expired", FACTS),
        UsedToken("form", "fresh", FACTS),
    ]
    buried(tenant, LATER_MS + lag_ms)
    assert outcomes(used(tenant, in_time, use(tenant, token))) == ["fresh", "used"]


def test_nine_days_after_its_end_a_token_is_nobodys(tenant: Tenant) -> None:
    """And is counted, though nobody kept house in between; a link without an end stays."""
    token, unused, link = made(tenant), made(tenant), made(tenant, "link", None)
    used(tenant, use(tenant, token))
    assert buried(tenant, LATER_MS + 9 * DAY_MS + 1_000) == {"form": 1}
    assert used(tenant, *(use(tenant, one) for one in (token, unused))) == [None, None]
    assert outcomes(used(tenant, use(tenant, link))) == ["fresh"]
