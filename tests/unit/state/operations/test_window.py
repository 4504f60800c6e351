from __future__ import annotations

import math

import pytest

from gateway.state.operations import Allowance
from gateway.state.operations.window import HIT, INITIAL


class Window:
    def __init__(self, limit: float, window: float) -> None:
        self.limit, self.window, self.now, self.state = limit, window, 1000.0, INITIAL

    def hit(self, cost: float = 1.0) -> Allowance:
        state, allowance, _ = HIT.decide(self.state, self.now, self.limit, self.window, cost)
        self.state = self.state if state is None else state
        return allowance


def test_the_limit_passes_within_a_window_and_no_more() -> None:
    window = Window(limit=3, window=60)
    assert [window.hit().allowed for _ in range(4)] == [True, True, True, False]


def test_the_previous_window_counts_by_the_share_that_still_overlaps() -> None:
    window = Window(limit=10, window=60)
    window.hit(10)
    window.now += 60 + 15  # a quarter is left behind
    assert window.hit(2).remaining == pytest.approx(0.5)
    assert not window.hit(1).allowed


def test_after_two_windows_nothing_counts() -> None:
    window = Window(limit=10, window=60)
    window.hit(10)
    window.now += 120
    assert window.hit().remaining == 9


def test_a_refused_hit_is_not_counted() -> None:
    window = Window(limit=1, window=60)
    window.hit()
    before = window.state
    assert not window.hit().allowed
    assert window.state == before


@pytest.mark.parametrize("later", [0, 30, 59, 60, 61, 90, 119])
def test_who_waits_as_told_is_let_through_and_not_before(later: float) -> None:
    window = Window(limit=10, window=60)
    window.hit(10)
    window.now += later
    while (refused := window.hit(2)).allowed:
        pass
    window.now += refused.retry_after - 0.01
    assert not window.hit(2).allowed
    window.now += 0.01
    assert window.hit(2).allowed


def test_reset_after_is_when_the_whole_limit_is_there_again() -> None:
    window = Window(limit=10, window=60)
    reset = window.hit(4).reset_after
    window.now += reset
    assert window.hit(10).allowed


def test_a_cost_above_the_limit_is_never_let_through() -> None:
    assert Window(limit=3, window=60).hit(4).retry_after == math.inf


def test_a_changed_limit_keeps_the_count() -> None:
    window = Window(limit=10, window=60)
    window.hit(8)
    window.limit = 20
    assert window.hit().remaining == 11
    window.limit = 5
    assert not window.hit().allowed


def test_a_shorter_window_shrinks_the_count_and_ages_it_from_then_on() -> None:
    window = Window(limit=60, window=3600)
    window.hit(60)
    window.window = 1800
    refused = window.hit(31)
    assert (refused.allowed, refused.remaining) == (False, 30)
    window.now += 3600
    assert window.hit(60).allowed


def test_a_longer_window_keeps_the_count() -> None:
    window = Window(limit=60, window=60)
    window.hit(50)
    window.window = 3600
    assert window.hit().remaining == 9


def test_a_record_is_kept_while_its_counts_may_matter() -> None:
    window = Window(limit=10, window=60)
    window.hit()
    assert HIT.lifetime(window.state) == 120
