from __future__ import annotations

import math

import pytest

from gateway.clock import FakeClock
from gateway.state.calls import Calls
from gateway.state.engines.memory import MemoryEngine
from gateway.state.operations.outcomes import ADD, Counts


class Node:
    """Handles of several workers on the calls of one instance, within a window of 10 s."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.engine = MemoryEngine(1 << 20, self.clock)
        self.record = self.engine.record(ADD, "a")

    def handle(self, slow_over: float = math.inf) -> Calls:
        counters = self.engine.counters("calls", held=False)
        record = self.engine.record(ADD, "a")
        return Calls(record, counters, counters.column("a"), 1.0, slow_over, self.clock.monotonic)


@pytest.fixture
def node() -> Node:
    return Node()


def good(calls: Calls, times: int) -> int:
    """How many took the short way."""
    short = 0
    for _ in range(times):
        if calls.good(0.1):
            short += 1
        else:
            calls.add(0, True, 0.1)
    return short


def test_good_calls_write_no_record_but_the_first_of_a_bucket(node: Node) -> None:
    calls = node.handle()
    assert good(calls, 10) == 9
    stamp = node.record.stamp()
    assert good(calls, 10) == 10
    assert node.record.stamp() == stamp
    node.clock.advance(1.0)
    assert good(calls, 10) == 9
    assert node.record.stamp() != stamp


def test_what_all_workers_counted_is_known_to_the_one_that_fails(node: Node) -> None:
    one, other = node.handle(), node.handle()
    for _ in range(3):
        good(one, 10)
        good(other, 10)
        node.clock.advance(1.0)
    assert one.add(0, False, 0.1) == Counts(61, 1, 0)
    node.clock.advance(7.5)  # the first bucket has passed
    assert other.add(0, True, 0.1) == Counts(42, 1, 0)


def test_while_something_bad_is_within_the_window_every_call_is_looked_at(node: Node) -> None:
    one, other = node.handle(), node.handle()
    good(other, 5)
    one.add(0, False, 0.1)
    assert good(other, 5) == 0
    node.clock.advance(10.0)
    assert good(other, 5) == 4


def test_a_slow_call_is_no_good_one(node: Node) -> None:
    calls = node.handle(slow_over=1.0)
    good(calls, 3)
    assert not calls.good(1.5)
    assert calls.good(1.0)
    assert calls.good(None)
    assert calls.add(0, True, 1.5) == Counts(6, 0, 1)


def test_a_pause_leaves_nothing_old(node: Node) -> None:
    calls = node.handle()
    good(calls, 10)
    node.clock.advance(1000.0)
    assert good(calls, 3) == 2
    assert calls.add(0, False, 0.1) == Counts(4, 1, 0)
