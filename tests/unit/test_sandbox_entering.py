"""Who may use the sandbox page."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from multidict import CIMultiDict

from deploy.sandbox.doors import DOORS
from deploy.sandbox.entering import Refused, hosts, is_meant, refused

PORT, KEY = 15_007, "right-key"
GOOD = {
    "Host": f"127.0.0.1:{PORT}",
    "Content-Type": "application/json",
    "Authorization": f"Bearer {KEY}",
}


def headers(**changed: str) -> CIMultiDict[str]:
    """Those of a good request, with some changed."""
    return CIMultiDict(GOOD | {name.replace("_", "-"): value for name, value in changed.items()})


@pytest.mark.parametrize(
    ("method", "changed", "why"),
    [
        ("GET", {}, None),
        ("POST", {"Origin": f"http://127.0.0.1:{PORT}", "Sec_Fetch_Site": "same-origin"}, None),
        ("GET", {"Host": f"localhost:{PORT}", "Sec_Fetch_Site": "none"}, None),
        ("POST", {"Origin": "https://evil.example"}, Refused.ORIGIN),
        ("POST", {"Origin": "null"}, Refused.ORIGIN),
        ("POST", {"Origin": f"http://127.0.0.1:{PORT + 1}"}, Refused.ORIGIN),
        ("POST", {"Origin": f"http://localhost:{PORT}"}, Refused.ORIGIN),
        ("GET", {"Sec_Fetch_Site": "cross-site"}, Refused.ORIGIN),
        ("GET", {"Sec_Fetch_Site": "same-site"}, Refused.ORIGIN),
        ("GET", {"Authorization": ""}, Refused.KEY),
        ("GET", {"Authorization": KEY}, Refused.KEY),
        ("GET", {"Authorization": f"Bearer {KEY}x"}, Refused.KEY),
        ("GET", {"Authorization": "Bearer \udcff"}, Refused.KEY),
        ("POST", {"Content_Type": "text/plain"}, Refused.BODY),
        ("POST", {"Content_Type": ""}, Refused.BODY),
        ("POST", {"Content_Type": "application/json; charset=utf-8"}, None),
    ],
)
def test_only_the_page_itself_goes_through_a_door(
    method: str, changed: dict[str, str], why: Refused | None
) -> None:
    """Another site's page, a form of another site, nobody's key: each is refused for what it is."""
    assert refused(method, headers(**changed), KEY) is why


@given(st.text(st.characters(codec=None)))
@example("\ud800")
def test_only_the_key_is_the_key(key: str) -> None:
    """Nothing else opens, and nothing else is an error, whatever bytes it was."""
    why = refused("GET", headers(Authorization=f"Bearer {key}"), KEY)
    assert (why is None) == (key == KEY)


@given(st.text(min_size=1))
def test_no_other_host_is_meant(host: str) -> None:
    """Whatever a name is rebound from."""
    assert is_meant(headers(Host=host), PORT) == (host in hosts(PORT))


def test_every_door_is_of_one_role_and_leads_to_the_public_api_or_the_control_side() -> None:
    """The page can do nothing that a customer of the API could not do; opening blocks always names its ticket."""
    for door in DOORS:
        assert door.path.startswith("/control/" if door.acting == "person" else "/v1/")
    opening = [door for door in DOORS if door.path == "/v1/events" and door.acting == "agent"]
    assert [door.fixed for door in opening] == [{"open": "true", "reason": "T-1", "follow": "false"}]
