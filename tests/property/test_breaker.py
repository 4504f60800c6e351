"""The breaker against a model that says the same in other words, over any course of events and several handles."""

from __future__ import annotations

from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from gateway.clock import FakeClock
from gateway.state.engines.memory import MemoryEngine
from tests.support.breaker_model import BreakerAgainstModel, local

WORKERS = 3


def machine() -> BreakerAgainstModel:
    clock = FakeClock()
    engine = MemoryEngine(1 << 20, clock)
    workers = [local(engine, clock) for _ in range(WORKERS)]

    # One clock for all of them: it is moved once.
    def only_first(worker):
        return lambda method, *args: None if method == "advance" else worker(method, *args)

    return BreakerAgainstModel([workers[0], *map(only_first, workers[1:])], clock, lambda: "echo")


def test_the_breaker_does_what_the_model_does() -> None:
    run_state_machine_as_test(machine, settings=settings(deadline=None, max_examples=200, stateful_step_count=40))
