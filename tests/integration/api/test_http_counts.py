"""What role api counts of its answers: queries, commands and public pages, by route, and nothing that names anybody."""

from urllib.request import Request, urlopen

from prometheus_client import REGISTRY

from schemas.http_counts import OTHER
from schemas.ids import random_id
from tests.api_world import ApiWorld, Tenant

REQUESTS, SECONDS = "sealpost_http_requests_total", "sealpost_http_request_seconds_count"
SUBJECT = "/v1/subjects/{subject}"


def requests(route: str, method: str, code: int) -> float:
    """Answers so far."""
    return REGISTRY.get_sample_value(REQUESTS, {"route": route, "method": method, "code": str(code)}) or 0.0


def timed(route: str, method: str) -> float:
    """Answers so far whose time is known."""
    return REGISTRY.get_sample_value(SECONDS, {"route": route, "method": method}) or 0.0


def label_values() -> set[str]:
    """Every value of every label of both metrics."""
    return {
        value
        for family in REGISTRY.collect()
        if family.name.startswith("sealpost_http_request")
        for sample in family.samples
        for value in sample.labels.values()
    }


def test_every_answer_counts_under_its_route(tenant: Tenant) -> None:
    """Found, refused and wrong alike, and all methods of one path apart."""
    world, person = tenant.world, tenant.person()
    person.introduce()
    asked = (
        (SUBJECT, "GET", 200, lambda: person.until("", bool)),
        (SUBJECT, "GET", 404, lambda: tenant.call("GET", f"/v1/subjects/{random_id()}", "agent")),
        (SUBJECT, "GET", 401, lambda: world.call("GET", f"/v1/subjects/{person.subject}")),
        (SUBJECT, "PUT", 405, lambda: tenant.call("PUT", f"/v1/subjects/{person.subject}", "agent")),
        ("/v1/messages", "POST", 202, lambda: tenant.send(person.to)),
        ("/v1/messages", "POST", 422, lambda: tenant.call("POST", "/v1/messages", "producer", {})),
        ("/v1/messages", "POST", 413, lambda: tenant.send(person.to, "x" * 300_000)),
    )
    for route, method, code, call in asked:
        before = requests(route, method, code), timed(route, method)
        call()
        after = requests(route, method, code), timed(route, method)
        assert all(late > early for late, early in zip(after, before, strict=True)), (route, method, code)


def test_public_pages_count_and_strangers_choose_no_label(world: ApiWorld, tenant: Tenant) -> None:
    """The widget, a form that is none, a page that is none, and a method of another protocol."""
    nobody, form = f"/nobody/{random_id()}", random_id()
    for route, method, path, code in (
        ("/optin/assets/{name}", "GET", "/optin/assets/widget.js", 200),
        ("/optin/forms/{tenant}/{form}", "GET", f"/optin/forms/{tenant.name}/{form}", 404),
        ("/optin/preferences/{tenant}/{key}", "GET", f"/optin/preferences/{tenant.name}/{'A' * 51}", 404),
        (OTHER, "GET", nobody, 404),
        (OTHER, OTHER, nobody, 404),
    ):
        before = requests(route, method, code), timed(route, method)
        reply = world.call("PROPFIND" if method == OTHER else method, path)
        assert reply.status == code, path
        after = requests(route, method, code), timed(route, method)
        assert after == (before[0] + 1, before[1] + 1), (route, method)
    seen = " ".join(label_values())
    for named in (tenant.name, form, nobody, "PROPFIND"):
        assert named not in seen


def test_a_stream_counts_when_it_begins(tenant: Tenant) -> None:
    """It may go on for hours."""
    before = requests("/v1/events", "GET", 200)
    asking = Request(
        f"{tenant.world.url}/v1/events", headers={"Authorization": f"Bearer {tenant.tokens['agent']}"}
    )
    with urlopen(asking, timeout=60):
        assert requests("/v1/events", "GET", 200) == before + 1
