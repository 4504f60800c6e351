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


def note(budgets: RetryBudgets, name: str) -> None:
    budgets.of(name, 0.2, 0.0).note(1.0)


@pytest.fixture
def engine(clock: FakeClock) -> MemoryEngine:
    return MemoryEngine(1 << 22, clock)


def test_requests_of_all_workers_pay_for_retries_of_each(engine: MemoryEngine, clock: FakeClock) -> None:
    one, other = (RetryBudgets(engine).of("echo", 0.2, 0.0) for _ in range(2))
    one.note(clock.monotonic())
    other.note(clock.monotonic())
    for _ in range(12):
        clock.advance(0.001)
        one.note(clock.monotonic())
    assert [other.spend(), other.spend(), other.spend()] == [True, True, False]


def test_what_was_made_and_denied_is_told(engine: MemoryEngine) -> None:
    budgets = RetryBudgets(engine)
    budget = budgets.of("echo", 0.2, 2.0)
    budget.note(1.0)
    assert [budget.spend() for _ in range(5)] == [True, True, False, False, False]
    assert budgets.told() == {"echo": (2, 3)}


def test_a_request_that_follows_soon_takes_no_record(engine: MemoryEngine, clock: FakeClock) -> None:
    budget = RetryBudgets(engine).of("echo", 0.2, 0.0)
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
        note(budgets, name)
    budgets.sweep({"echo"})
    assert set(budgets.told()) == {"echo", "gone"}  # it may be on its way here
    budgets.sweep({"echo"})
    assert set(budgets.told()) == {"echo"}


def test_a_service_that_is_missed_once_keeps_its_columns(engine: MemoryEngine) -> None:
    budgets = RetryBudgets(engine)
    note(budgets, "echo")
    for services in (set(), {"echo"}, set(), {"echo"}):
        budgets.sweep(services)
    assert set(budgets.told()) == {"echo"}


def test_columns_that_were_given_back_are_asked_for_anew(engine: MemoryEngine, clock: FakeClock) -> None:
    budgets = RetryBudgets(engine)
    kept = budgets.of("echo", 0.2, 0.0)
    kept.note(clock.monotonic())
    budgets.sweep(())
    budgets.sweep(())
    for _ in range(4):
        clock.advance(LOOK_EVERY)
        for _ in range(25):
            kept.note(clock.monotonic())
    assert set(budgets.told()) == {"echo"}
    assert sum(kept.spend() for _ in range(100)) <= 0.2 * 100


def test_without_room_to_count_there_are_no_retries(engine: MemoryEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    budgets = RetryBudgets(engine)

    def full(key: str) -> int:
        raise StoreFull(key)

    budget = budgets.of("echo", 0.2, 3.0)
    with monkeypatch.context() as context:
        context.setattr(budgets._requests, "column", full)
        budget.note(1.0)
        assert not budget.spend()
    budget.note(2.0)
    assert budget.spend()


def test_without_room_for_the_record_a_retry_is_denied(engine: MemoryEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def apply(self, *_: object) -> bool:
            raise StoreFull("no room")

    monkeypatch.setattr(engine, "record", lambda operation, key: Full())
    budget = RetryBudgets(engine).of("echo", 0.2, 3.0)
    budget.note(1.0)
    assert not budget.spend()
