from __future__ import annotations

import pytest

from gateway.clock import FakeClock
from gateway.errors import StoreFull
from gateway.state.budgets import LOOK_EVERY, RetryBudgets
from gateway.state.engines.memory import MemoryEngine
from gateway.state.operations.budget import OBSERVE


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def engine(clock: FakeClock) -> MemoryEngine:
    return MemoryEngine(1 << 22, clock)


def test_requests_of_all_workers_pay_for_retries_of_each(engine: MemoryEngine, clock: FakeClock) -> None:
    one, other = (RetryBudgets(engine).of("echo", 0.2, 0.0) for _ in range(2))
    assert one is not None
    assert other is not None
    one.note(clock.monotonic())
    for _ in range(12):
        clock.advance(0.001)
        one.note(clock.monotonic())
    assert [other.spend(), other.spend(), other.spend()] == [True, True, False]


def test_what_was_made_and_denied_is_told(engine: MemoryEngine) -> None:
    budgets = RetryBudgets(engine)
    budget = budgets.of("echo", 0.2, 2.0)
    assert budget is not None
    assert [budget.spend() for _ in range(5)] == [True, True, False, False, False]
    assert budgets.told() == {"echo": (2, 3)}


def test_a_request_that_follows_soon_takes_no_record(engine: MemoryEngine, clock: FakeClock) -> None:
    budget = RetryBudgets(engine).of("echo", 0.2, 0.0)
    assert budget is not None
    record = engine.record(OBSERVE, "retries/echo")
    budget.note(clock.monotonic())
    stamp = record.stamp()
    clock.advance(LOOK_EVERY / 2)
    budget.note(clock.monotonic())
    assert record.stamp() == stamp
    clock.advance(LOOK_EVERY)
    budget.note(clock.monotonic())
    assert record.stamp() != stamp


def test_services_that_are_gone_give_their_columns_back(engine: MemoryEngine) -> None:
    budgets = RetryBudgets(engine)
    for name in ("echo", "gone"):
        budgets.of(name, 0.2, 0.0)
    budgets.retain({"echo"})
    assert set(budgets.told()) == {"echo"}


def test_without_room_to_count_there_are_no_retries(engine: MemoryEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    budgets = RetryBudgets(engine)

    def full(key: str) -> int:
        raise StoreFull(key)

    monkeypatch.setattr(budgets._requests, "column", full)
    assert budgets.of("echo", 0.2, 3.0) is None


def test_without_room_for_the_record_a_retry_is_denied(engine: MemoryEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def apply(self, *_: object) -> bool:
            raise StoreFull("no room")

    monkeypatch.setattr(engine, "record", lambda operation, key: Full())
    budget = RetryBudgets(engine).of("echo", 0.2, 3.0)
    assert budget is not None
    budget.note(1.0)
    assert not budget.spend()
