from __future__ import annotations

from collections.abc import Callable

import pytest

from gateway.clock import FakeClock
from gateway.state.engines.memory import MemoryEngine
from gateway.state.operations.budget import MEMORY, OBSERVE, SPEND


class Budget:
    """A budget and the requests that it is told of."""

    def __init__(self, share: float = 0.2, floor: float = 0.0) -> None:
        self.clock = FakeClock()
        self.record = MemoryEngine(1 << 20, self.clock).record(SPEND, "a")
        self.total, self.share, self.floor = 0, share, floor
        self.observe()

    def observe(self) -> None:
        self.record.apply(OBSERVE, self.total, self.share, self.floor)

    def requests(self, rate: float, seconds: float, each: Callable[[], object] = lambda: None) -> None:
        """So many a second, evenly; `each` is called with each."""
        for _ in range(round(rate * seconds)):
            self.clock.advance(1 / rate)
            self.total += 1
            each()

    def spend(self) -> bool:
        return self.record.apply(SPEND, self.total, self.share, self.floor)

    def spend_all(self) -> int:
        count = 0
        while self.spend():
            count += 1
        return count


def test_without_requests_there_are_no_retries() -> None:
    assert not Budget().spend()


def test_a_share_of_the_requests_may_be_retried() -> None:
    budget, made = Budget(), []
    budget.requests(200, 10, lambda: made.append(budget.spend()))
    assert sum(made) == pytest.approx(0.2 * 2000, rel=0.02)


def test_what_is_saved_up_at_a_steady_rate_is_bounded() -> None:
    budget = Budget()
    budget.requests(1000, 60, budget.observe)
    assert budget.spend_all() == pytest.approx(0.2 * 1000 * MEMORY, rel=0.05)


def test_the_same_is_saved_up_however_seldom_somebody_looks() -> None:
    often, seldom = Budget(), Budget()
    often.requests(100, 5, often.observe)
    seldom.requests(100, 5)
    assert seldom.spend_all() == pytest.approx(often.spend_all(), abs=1)


def test_a_saving_is_forgotten_but_for_one_retry() -> None:
    budget = Budget()
    budget.requests(1000, 10, budget.observe)
    budget.clock.advance(60.0)
    assert budget.spend_all() == 1


def test_few_requests_get_their_share_too() -> None:
    budget, made = Budget(), []
    budget.requests(0.5, 100, lambda: made.append(budget.spend()))
    assert sum(made) == 10


def test_the_floor_allows_so_many_a_second_however_few_the_requests() -> None:
    budget = Budget(share=0.0, floor=3)
    assert budget.spend_all() == 3
    budget.clock.advance(1 / 3)
    assert budget.spend_all() == 1
    budget.clock.advance(100.0)
    assert budget.spend_all() == 3


def test_floor_and_share_do_not_add_up() -> None:
    budget, made = Budget(floor=3), []
    budget.requests(200, 10, lambda: made.append(budget.spend_all()))
    assert sum(made) <= 0.2 * 2000 + 3 + 1


def test_nothing_at_all_is_a_budget_too() -> None:
    budget, made = Budget(share=0.0, floor=0.0), []
    budget.requests(100, 5, lambda: made.append(budget.spend()))
    assert not any(made)


def test_every_request_may_be_retried_where_the_share_is_the_whole() -> None:
    budget, made = Budget(share=1.0), []
    budget.requests(50, 4, lambda: made.append(budget.spend()))
    assert all(made)


def test_requests_that_another_worker_has_told_already_are_not_counted_again() -> None:
    budget = Budget()
    for total in (100, 200, 100, 200, 100, 200):
        budget.clock.advance(0.001)
        budget.record.apply(OBSERVE, total, 0.2, 0.0)
    budget.total = 200
    assert budget.spend_all() <= 0.2 * 200
