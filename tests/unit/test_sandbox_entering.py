"""Who may use the sandbox page."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from deploy.sandbox.doors import DOORS
from deploy.sandbox.entering import Refused, has_key, hosts, refused_before_key

PORT = 15_007
GOOD = {"Host": f"127.0.0.1:{PORT}", "Content-Type": "application/json"}


def asked(method: str = "GET", **changed: str) -> Refused | None:
    """What is said to a request with these headers changed."""
    headers = CIMultiDict(GOOD | {name.replace("_", "-"): value for name, value in changed.items()})
    return refused_before_key(method, headers, PORT)


@pytest.mark.parametrize(
    ("method", "changed", "refused"),
    [
        ("GET", {}, None),
        ("POST", {"Origin": f"http://127.0.0.1:{PORT}", "Sec_Fetch_Site": "same-origin"}, None),
        ("GET", {"Host": f"localhost:{PORT}", "Sec_Fetch_Site": "none"}, None),
        ("GET", {"Host": "rebound.example"}, Refused.HOST),
        ("GET", {"Host": f"rebound.example:{PORT}"}, Refused.HOST),
        ("GET", {"Host": "127.0.0.1"}, Refused.HOST),
        ("POST", {"Origin": "https://evil.example"}, Refused.ORIGIN),
        ("POST", {"Origin": "null"}, Refused.ORIGIN),
        ("POST", {"Origin": f"http://127.0.0.1:{PORT + 1}"}, Refused.ORIGIN),
        ("POST", {"Origin": f"http://localhost:{PORT}"}, Refused.ORIGIN),
        ("GET", {"Sec_Fetch_Site": "cross-site"}, Refused.ORIGIN),
        ("GET", {"Sec_Fetch_Site": "same-site"}, Refused.ORIGIN),
        ("POST", {"Content_Type": "text/plain"}, Refused.BODY),
        ("POST", {"Content_Type": ""}, Refused.BODY),
        ("POST", {"Content_Type": "application/json; charset=utf-8"}, None),
    ],
)
def test_only_the_page_itself_is_answered(
    method: str, changed: dict[str, str], refused: Refused | None
) -> None:
    """A rebound name, another site's page, a form of another site: each is refused for what it is."""
    assert asked(method, **changed) is refused


@given(st.text(min_size=1))
def test_no_other_host_gets_in(host: str) -> None:
    """Whatever a name is rebound from."""
    assert (asked(Host=host) is None) == (host in hosts(PORT))


@given(st.text())
def test_only_the_key_is_the_key(given_key: str) -> None:
    """Nothing else opens, and nothing else is an error."""
    assert has_key(given_key, "right") == (given_key == "right")


def test_no_key_is_no_key() -> None:
    """A request without a cookie."""
    assert not has_key(None, "right")


def test_every_door_is_of_one_role_and_leads_to_the_public_api_or_the_control_side() -> None:
    """The page can do nothing that a customer of the API could not do; opening blocks always names its ticket."""
    for door in DOORS:
        assert door.path.startswith("/control/" if door.acting == "person" else "/v1/")
    opening = [door for door in DOORS if door.path == "/v1/events" and door.acting == "agent"]
    assert [door.fixed for door in opening] == [{"open": "true", "reason": "T-1", "follow": "false"}]
