"""Breakers of four workers of one node: what the model says holds over all of them, and races have one winner."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from gateway.clock import FakeClock, SystemClock
from gateway.config.model import Breaker as Settings
from gateway.config.units import Window
from gateway.state.breakers import Breaker, Breakers, Event
from gateway.state.engines import Engine
from gateway.state.operations.sequence import NEXT
from gateway.state.registry import Instance
from tests.support.breaker_model import BreakerAgainstModel, Hands, Remote
from tests.support.engines import Fleet

WORKERS, THREADS = 4, 3
INSTANCE = Instance("echo", "inst-1", "http://h:1")


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    with Fleet(tmp_path) as fleet:
        yield fleet


@contextmanager
def remote(fleet: Fleet) -> Iterator[Remote]:
    """The hands of a process of its own, with a clock of its own."""
    here, there = Pipe()

    def serve(engine: Engine) -> None:
        hands = Hands(engine, fleet.clock)  # type: ignore[arg-type]
        while asked := there.recv():
            method, args = asked
            there.send(getattr(hands, method)(*args))

    worker = fleet.start(serve)

    def call(method: str, *args: Any) -> Any:
        here.send((method, args))
        assert here.poll(20), f"no answer from process {worker.pid}"
        return here.recv()

    try:
        yield call
    finally:
        here.send(None)
        worker.result()
        here.close()
        there.close()


def test_four_processes_do_what_the_model_does(tmp_path: Path) -> None:
    clock = FakeClock()
    with Fleet(tmp_path, clock=clock) as fleet, all_of([remote(fleet) for _ in range(WORKERS)]) as workers:
        moving = FakeClock()  # as the workers': they are moved in step

        def first(method: str, *args: Any) -> Any:
            if method == "advance":
                moving.advance(*args)
            return workers[0](method, *args)

        names = (f"echo-{number}" for number in count())
        run_state_machine_as_test(
            lambda: BreakerAgainstModel([first, *workers[1:]], moving, names.__next__),
            settings=settings(
                deadline=None, max_examples=60, stateful_step_count=25, suppress_health_check=list(HealthCheck)
            ),
        )


@contextmanager
def all_of(managers: list[Any]) -> Iterator[list[Remote]]:
    with ExitStack() as stack:
        yield [stack.enter_context(manager) for manager in managers]


# --- races ------------------------------------------------------------------------------------------------------------
class Worker:
    """A worker's handles, and what it was told."""

    def __init__(self, engine: Engine, settings: Settings, instances: int = 1) -> None:
        self.events: list[Event] = []
        listed = [Instance("echo", str(number), "http://h:1") for number in range(instances)]
        breakers = Breakers(
            engine, SystemClock(), [self.events.append], peers=lambda service: [one.key for one in listed]
        )
        self.handles: list[Breaker] = [found for one in listed if (found := breakers.of(one, settings)) is not None]

    def names(self) -> Counter[str]:
        return Counter(event.name for event in self.events)


def meet(engine: Engine, where: str) -> None:
    """Return when all workers are here."""
    place = engine.record(NEXT, where)
    place.apply(NEXT)
    waiting = threading.Event()
    for _ in range(20_000):
        if place.read()[0] >= WORKERS:
            return
        waiting.wait(0.001)
    raise TimeoutError(where)


def in_threads(work: Callable[[], None]) -> None:
    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def everywhere(fleet: Fleet, work: Callable[[Engine], Any]) -> list[Any]:
    return [worker.result() for worker in [fleet.start(work) for _ in range(WORKERS)]]


@pytest.mark.parametrize(
    "rules",
    [
        Settings(failures=8),
        Settings(failures=8, window=Window(seconds=60.0)),
        Settings(failures=32, window=Window(seconds=60.0), failure_ratio=0.5, minimum_calls=16),
        Settings(failures=8, max_ejected=0.5),
    ],
    ids=["row", "window", "ratio", "bounded"],
)
def test_of_all_workers_that_fail_at_once_one_opens_it(fleet: Fleet, rules: Settings) -> None:
    def work(engine: Engine) -> Counter[str]:
        worker = Worker(engine, rules)
        meet(engine, "ready")

        def thread() -> None:
            while (permit := worker.handles[0].allow()) is not None:
                permit.done(False)

        in_threads(thread)
        return worker.names()

    told = sum(everywhere(fleet, work), Counter())
    assert told["opened"] == 1
    if rules.failure_ratio is None and rules.max_ejected == 1:
        assert told["failure"] == 8


def test_every_call_is_counted(fleet: Fleet) -> None:
    """2,400 calls within the window, a third of them failed: one more failure completes the minimum and the share."""
    calls = WORKERS * THREADS * 200
    rules = Settings(failures=10**6, window=Window(seconds=3600.0), failure_ratio=0.33, minimum_calls=calls + 1)

    def work(engine: Engine) -> int:
        worker = Worker(engine, rules)
        meet(engine, "ready")

        def thread() -> None:
            for number in range(200):
                permit = worker.handles[0].allow()
                assert permit is not None
                permit.done(number % 3 != 0)

        in_threads(thread)
        return worker.names()["opened"]

    assert everywhere(fleet, work) == [0] * WORKERS
    with fleet.here() as engine:
        worker = Worker(engine, rules)
        permit = worker.handles[0].allow()
        assert permit is not None
        permit.done(False)
        (opened,) = [event for event in worker.events if event.name == "opened"]
        assert (opened.calls, opened.failed) == (calls + 1, WORKERS * THREADS * 67 + 1)


def test_no_more_than_the_share_opens_when_all_instances_fail_everywhere(fleet: Fleet) -> None:
    rules = Settings(failures=1, max_ejected=0.5)

    def work(engine: Engine) -> Counter[str]:
        worker = Worker(engine, rules, instances=8)
        meet(engine, "ready")

        def thread() -> None:
            for _ in range(3):
                for handle in worker.handles:
                    permit = handle.allow()
                    if permit is not None:
                        permit.done(False)

        in_threads(thread)
        return worker.names()

    assert sum(everywhere(fleet, work), Counter())["opened"] == 4


def test_half_open_no_more_than_the_probes_are_leased_and_those_of_a_dead_worker_are_free(tmp_path: Path) -> None:
    rules = Settings(failures=1, open_for=5.0, half_open_probes=3)
    clock = FakeClock()
    with Fleet(tmp_path, clock=clock) as fleet:

        def begin(engine: Engine) -> None:
            handle = Breakers(engine, clock, ()).of(INSTANCE, rules)
            assert handle is not None
            permit = handle.allow()
            assert permit is not None
            permit.done(False)

        def ask(engine: Engine) -> int:
            handle = Breakers(engine, clock, ()).of(INSTANCE, rules)
            assert handle is not None
            lease = 10.0 + os.getpid() / 1e8  # no two leases end at the same time, as with a clock that moves
            return sum(handle.allow(lease) is not None for _ in range(20))

        def ask_and_die(engine: Engine) -> None:
            ask(engine)
            os.kill(os.getpid(), signal.SIGKILL)

        def ask_and_live(engine: Engine) -> None:
            os.write(answers, bytes([ask(engine)]))
            os.read(ends, 1)

        def asked_by_all() -> int:
            """They live while each of them asks."""
            workers = [fleet.start(ask_and_live) for _ in range(WORKERS)]
            leased = sum(os.read(answered, 1)[0] for _ in workers)
            assert fleet.start(ask).result() == 0
            clock.advance(9.999)
            assert fleet.start(ask).result() == 0
            os.write(end, b"x" * WORKERS)
            for worker in workers:
                worker.result()
            return leased

        (answered, answers), (ends, end) = os.pipe(), os.pipe()
        fleet.start(begin).result()
        clock.advance(5.0)
        for _ in range(3):
            assert fleet.start(ask_and_die).died_of() == signal.SIGKILL
            assert asked_by_all() == 3
        for descriptor in (answered, answers, ends, end):
            os.close(descriptor)
