from __future__ import annotations

import pytest

from gateway.clock import FakeClock
from gateway.state.engines.memory import MemoryEngine
from gateway.state.operations.level import INITIAL, LIFT


@pytest.mark.parametrize(("lifts", "level"), [((3.0,), 3.0), ((3.0, 2.0), 3.0), ((3.0, 4.5), 4.5), ((0.0,), 0.0)])
def test_a_level_is_only_raised(lifts: tuple[float, ...], level: float) -> None:
    record = MemoryEngine(1 << 20, FakeClock()).record(LIFT, "a")
    assert [record.apply(LIFT, lift) for lift in lifts][-1] == level
    assert record.read() == (1, level)


def test_one_that_was_never_set_can_be_told() -> None:
    assert MemoryEngine(1 << 20, FakeClock()).record(LIFT, "a").read() == INITIAL
