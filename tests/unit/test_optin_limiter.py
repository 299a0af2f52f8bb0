"""How often one source may ask: a burst at once, then at a pace; who is forgotten, and what is kept of an address."""

from unittest.mock import patch

from workers.optin import limiter
from workers.optin.limiter import Limit, Limiter


def test_a_burst_then_a_pace_and_never_more_than_the_burst() -> None:
    few = Limiter(Limit(burst=3, every_s=10.0))

    def allowed(at_s: float, times: int) -> list[bool]:
        with patch("workers.optin.limiter.boot_s", lambda: at_s):
            return [few.allows("203.0.113.7") for _ in range(times)]

    assert allowed(0.0, 4) == [True, True, True, False]
    assert allowed(9.9, 1) == [False]
    assert allowed(10.1, 2) == [True, False]
    assert allowed(10_000.0, 4) == [True, True, True, False]


def test_one_source_holds_up_no_other() -> None:
    few = Limiter(Limit(burst=1, every_s=1_000.0))
    assert [few.allows(source) for source in ("a", "a", "b", "b")] == [True, False, True, False]


def test_strangers_take_no_more_memory_than_they_may() -> None:
    """The one longest unused is forgotten first; no address is kept."""
    few = Limiter(Limit(burst=1, every_s=1_000.0))
    with patch.object(limiter, "SOURCES_MAX", 3):
        for source in ("198.51.100.1", "198.51.100.2", "198.51.100.3"):
            assert few.allows(source)
        assert not few.allows("198.51.100.1")
        assert few.allows("198.51.100.4")
        assert not few.allows("198.51.100.1"), "who asked a moment ago was forgotten"
        assert few.allows("198.51.100.2"), "who was longest unused was kept"
    assert "198.51.100" not in str(vars(few))
