"""Order in a lane, and the commit position, under any interleaving of taking and finishing."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.outbound.lanes import Lanes
from workers.outbound.watermark import Watermark


@dataclass
class Model:
    """One partition: messages are taken in order and go into lanes; any lane's head may end next."""

    lanes: Lanes[str, int] = field(default_factory=Lanes)
    watermark: Watermark = field(default_factory=Watermark)
    taken: list[tuple[int, str]] = field(default_factory=list)
    ended: list[tuple[int, str]] = field(default_factory=list)
    running: list[str] = field(default_factory=list)

    def take(self, offset: int, lane: str) -> None:
        """A message was read."""
        self.watermark.take(offset, 10)
        self.taken.append((offset, lane))
        if self.lanes.add(lane, offset):
            self.running.append(lane)

    def end(self, choice: int) -> None:
        """One of the heads at work ends."""
        if not self.running:
            return
        lane = self.running[choice % len(self.running)]
        offset = self.lanes.head(lane)
        self.watermark.finish(offset)
        self.ended.append((offset, lane))
        if not self.lanes.done(lane):
            self.running.remove(lane)

    def lowest_unfinished(self) -> int | None:
        """Where a restart has to go on."""
        ended = {offset for offset, _ in self.ended}
        left = [offset for offset, _ in self.taken if offset not in ended]
        return min(left) if left else (self.taken[-1][0] + 1 if self.taken else None)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("take"), st.sampled_from("abcd"), st.integers(1, 3)),
        st.tuples(st.just("end"), st.integers(0, 100), st.just(0)),
    ),
    max_size=200,
)


@given(steps)
def test_order_and_position_hold_under_any_interleaving(script: list[tuple[str, object, int]]) -> None:
    model = Model()
    offset = 0
    for action, what, gap in script:
        if action == "take":
            model.take(offset, str(what))
            offset += gap
        else:
            assert isinstance(what, int)
            model.end(what)
        assert model.watermark.position() == model.lowest_unfinished()
        assert model.watermark.unfinished() == len(model.taken) - len(model.ended)
        assert model.watermark.size() == 10 * model.watermark.unfinished()
        assert model.watermark.span() >= model.watermark.unfinished()
        assert len(model.lanes) == len(model.running)
    for lane in "abcd":
        in_order = [number for number, of in model.taken if of == lane]
        assert [number for number, of in model.ended if of == lane] == in_order[
            : len([1 for _, of in model.ended if of == lane])
        ]


@given(steps)
def test_when_everything_has_ended_nothing_is_left(script: list[tuple[str, object, int]]) -> None:
    model = Model()
    takes = [str(what) for action, what, _ in script if action == "take"]
    for offset, lane in enumerate(takes):
        model.take(offset, lane)
    while model.running:
        model.end(7)
    assert model.watermark.position() == (len(takes) or None)
    assert model.watermark.span() == 0
    assert len(model.lanes) == 0


def test_an_offset_is_finished_once_and_taken_in_order() -> None:
    watermark = Watermark()
    assert watermark.position() is None
    watermark.take(5)
    watermark.take(9)
    with pytest.raises(ValueError, match="rise"):
        watermark.take(9)
    watermark.finish(9)
    assert watermark.position() == 5
    for wrong in (9, 6, 4):
        with pytest.raises(ValueError, match="not open"):
            watermark.finish(wrong)
    watermark.finish(5)
    assert watermark.position() == 10


def test_an_empty_lane_has_no_head() -> None:
    lanes: Lanes[str, int] = Lanes()
    assert lanes.add("a", 1)
    assert not lanes.add("a", 2)
    assert lanes.done("a")
    assert not lanes.done("a")
    with pytest.raises(KeyError):
        lanes.head("a")
