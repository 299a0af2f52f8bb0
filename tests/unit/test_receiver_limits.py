"""What one connection may use, whose request it is, and which settings make sense: pure parts of the receiver's limits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.settings import Settings
from schemas import clock
from schemas.errors import ConfigurationError
from workers.receiver import sources
from workers.receiver.limits import BODY_LARGEST_BYTES, ReceiverLimits, read_networks
from workers.receiver.shares import Share, Shares
from workers.receiver.sources import Forgeries, source_of
from workers.receiver.webhooks import untimely

PROXIES = read_networks("10.0.0.0/8, 2001:db8:1::/48, 192.0.2.1")
STRANGER, PROXY = "203.0.113.9", "10.1.2.3"


def forwarded(*lines: str) -> list[tuple[bytes, bytes]]:
    return [(b"host", b"x"), *((b"x-forwarded-for", line.encode("latin-1")) for line in lines)]


# ---- whose it is --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("peer", "lines", "source"),
    [
        (STRANGER, [], STRANGER),
        (STRANGER, ["198.51.100.7"], STRANGER),
        (PROXY, [], PROXY),
        (PROXY, ["198.51.100.7"], "198.51.100.7"),
        (PROXY, ["198.51.100.8, 198.51.100.7"], "198.51.100.7"),
        (PROXY, ["198.51.100.8", "198.51.100.7, 192.0.2.1"], "198.51.100.7"),
        (PROXY, ["10.0.0.1,10.0.0.2"], "10.0.0.1"),
        (PROXY, ["198.51.100.7, unknown"], PROXY),
        (PROXY, ["198.51.100.7:4711"], PROXY),
        (f"::ffff:{PROXY}", ["198.51.100.7"], "198.51.100.7"),
        ("2001:db8:1::1", ["2001:db8:2:3:4::5"], "2001:db8:2:3::/64"),
        ("2001:db8:2:3:4::5", ["198.51.100.7"], "2001:db8:2:3::/64"),
        ("", ["198.51.100.7"], ""),
    ],
)
def test_the_source_of_a_request(peer: str, lines: list[str], source: str) -> None:
    """The nearest hop that no trusted proxy is; the peer where no trusted one is asked; an IPv6 network as one."""
    assert source_of(peer, forwarded(*lines), PROXIES) == source


@given(st.text(max_size=60), st.lists(st.text(st.characters(max_codepoint=255)), max_size=3))
def test_a_stranger_chooses_no_source(peer: str, lines: list[str]) -> None:
    """No header raises, or makes a stranger somebody else, whatever stands in it."""
    assert source_of(STRANGER, forwarded(*lines), PROXIES) == STRANGER
    assert source_of(peer, forwarded(*lines), ()) == source_of(peer, [], ())
    source_of(PROXY, forwarded(*lines), PROXIES)


@given(st.text(st.characters(max_codepoint=255), max_size=200))
def test_what_the_sender_wrote_before_the_proxy_counts_for_nothing(invented: str) -> None:
    assert source_of(PROXY, forwarded(f"{invented},198.51.100.7"), PROXIES) == "198.51.100.7"


# ---- forgeries ----------------------------------------------------------------------------------------------------


def test_forgeries_of_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused from the limit on until the minute is over; a proof counts for an hour; other sources are others."""
    now = [1_000.0]
    monkeypatch.setattr(clock, "boot_s", lambda: now[0])
    forgeries = Forgeries(2)
    one, other = forgeries.key("c", STRANGER), forgeries.key("d", STRANGER)
    assert STRANGER.encode() not in one
    assert Forgeries(2).key("c", STRANGER) != one, "what one process remembers is nothing to another"
    forgeries.forged(one)
    assert not forgeries.refuses(one)
    forgeries.forged(one)
    assert forgeries.refuses(one)
    assert not forgeries.refuses(other)
    now[0] += sources.MINUTE_S
    assert not forgeries.refuses(one)
    forgeries.proved(one)
    for _ in range(3):
        forgeries.forged(one)
    assert not forgeries.refuses(one)
    now[0] += sources.PROVED_S
    for _ in range(3):
        forgeries.forged(one)
    assert forgeries.refuses(one)


def test_forgeries_do_not_fill_memory() -> None:
    """Of more sources than are kept the one that was longest silent is forgotten; without a limit nobody is refused."""
    forgeries = Forgeries(1, kept_max=2)
    keys = [forgeries.key("c", f"203.0.113.{n}") for n in range(3)]
    for key in (keys[0], keys[1], keys[0], keys[2]):
        forgeries.forged(key)
    assert [forgeries.refuses(key) for key in keys] == [True, False, True]
    forgeries.proved(keys[0])
    for key in (*keys, keys[1]):
        forgeries.forged(key)
    assert forgeries.has_proved(keys[0]), "strangers make nobody forget the provider"
    for key in keys[1:]:
        forgeries.proved(key)
    assert [forgeries.has_proved(key) for key in keys] == [False, True, True]
    unlimited = Forgeries(0)
    unlimited.forged(keys[0])
    assert not unlimited.refuses(keys[0])


# ---- shares -------------------------------------------------------------------------------------------------------

HELD_MAX = 1_000
REQUESTS = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, 400), st.booleans()), min_size=1, max_size=60
)


@given(REQUESTS)
def test_shares_are_bounded_and_given_back(requests: list[tuple[str, int, bool]]) -> None:
    """A connection that holds nothing can always hold half of what is free; all leave nothing behind."""
    shares = Shares(at_once=5, held_max_bytes=HELD_MAX, stranger_at_once=1)
    open_: list[tuple[Share, int]] = []
    for name, size, stays in requests:
        share = shares.enter(name)
        if share is None:
            assert sum(1 for one, _ in open_ if one.connection == name) == 5
            continue
        held = sum(size for _, size in open_)
        own = sum(size for one, size in open_ if one.connection == name)
        fits = shares.hold(share, size)
        assert fits == (own + size <= HELD_MAX - held - size)
        if not own:
            assert fits == (size <= (HELD_MAX - held) / 2)
        if fits and stays:
            open_.append((share, size))
        else:
            shares.leave(share, size)
        assert sum(size for _, size in open_) <= HELD_MAX
    for share, size in open_:
        shares.leave(share, size)
    assert (shares._held_bytes, shares._by_connection) == (0, {})


STEPS = st.lists(st.tuples(st.sampled_from([None, b"s", b"t", b"u", b"v"]), st.integers(0, 9)), max_size=80)


@given(STEPS)
def test_strangers_have_few_places_and_leave_the_rest(steps: list[tuple[bytes | None, int]]) -> None:
    """None is a source that has proved itself; a number at which nobody stands begins a request, another ends that one."""
    shares = Shares(at_once=10, held_max_bytes=HELD_MAX, stranger_at_once=2)
    open_: list[tuple[Share, bytes | None]] = []
    for source, place in steps:
        if place < len(open_):
            share, whose = open_.pop(place)
            shares.leave(share, 0, whose)
        strangers = [whose for _, whose in open_ if whose is not None]
        full = len(open_) == 10
        if source is not None:
            full = full or len(strangers) == 5 or strangers.count(source) == 2
        found = shares.enter("c", source)
        assert (found is None) == full
        if found is not None:
            open_.append((found, source))
    for share, whose in open_:
        shares.leave(share, 0, whose)
    assert shares._by_connection == {}


def test_what_strangers_hold_is_not_the_providers() -> None:
    """They hold half of memory, and the same connection's provider still gets half of what is left."""
    shares = Shares(at_once=10, held_max_bytes=HELD_MAX, stranger_at_once=2)
    stranger, provider = shares.enter("c", b"s"), shares.enter("c")
    assert stranger is not None
    assert provider is not None
    assert shares.hold(stranger, HELD_MAX // 2)
    assert not shares.hold(stranger, 1)
    assert shares.hold(provider, HELD_MAX // 5)


# ---- the window ---------------------------------------------------------------------------------------------------


@given(st.floats(-1e9, 1e9))
def test_the_replay_window(age_s: float) -> None:
    """Both ends belong to it."""
    found = untimely(age_s, 3_600, 300)
    assert found == ("replayed" if age_s > 3_600 else "ahead" if age_s < -300 else None)


# ---- settings -----------------------------------------------------------------------------------------------------


def test_settings_reach_the_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "WEBHOOK_BODY_BYTES": "4096",
        "WEBHOOK_HEADERS": "30",
        "WEBHOOK_HEADER_BYTES": "8192",
        "WEBHOOK_READ_S": "3",
        "WEBHOOK_ANSWER_S": "2.5",
        "WEBHOOK_AT_ONCE": "7",
        "WEBHOOK_HELD_BYTES": "100000",
        "WEBHOOK_REPLAY_S": "600",
        "WEBHOOK_FORGED_A_MINUTE": "0",
        "WEBHOOK_STRANGER_AT_ONCE": "9",
        "TRUSTED_PROXIES": "10.0.0.0/8, 192.0.2.1",
    }.items():
        monkeypatch.setenv(f"SEALPOST_{name}", value)
    assert Settings().receiver_limits() == ReceiverLimits(
        4096, 30, 8192, 3, 2.5, 7, 100_000, 600, 0, 9, read_networks("10.0.0.0/8,192.0.2.1")
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WEBHOOK_BODY_BYTES", BODY_LARGEST_BYTES + 1),
        ("WEBHOOK_BODY_BYTES", 0),
        ("WEBHOOK_HEADERS", 0),
        ("WEBHOOK_HEADER_BYTES", 100),
        ("WEBHOOK_READ_S", 0),
        ("WEBHOOK_ANSWER_S", 10.1),
        ("WEBHOOK_AT_ONCE", 0),
        ("WEBHOOK_STRANGER_AT_ONCE", 0),
        ("WEBHOOK_HELD_BYTES", 4 * 1024 * 1024),
        ("WEBHOOK_REPLAY_S", 0),
        ("WEBHOOK_FORGED_A_MINUTE", -1),
        ("TRUSTED_PROXIES", "10.0.0.1/8"),
        ("TRUSTED_PROXIES", "*"),
    ],
)
def test_a_setting_out_of_its_range_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: object
) -> None:
    monkeypatch.setenv(f"SEALPOST_{name}", str(value))
    with pytest.raises(ConfigurationError, match=f"SEALPOST_{name} must be"):
        Settings().receiver_limits()
