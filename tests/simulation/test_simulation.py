"""Many short schedules over three workers, and a few with a fault in the code, to see that it would be noticed.

A failure names its seed: `SIMULATION=balancer:seed pytest tests/simulation` runs that one alone and prints its trace;
SCENARIOS=full runs more of them.
"""

from __future__ import annotations

import functools
import os
from collections import Counter
from collections.abc import Iterator

import pytest

from gateway import plugin
from gateway.state.breakers import Breaker, Permit, Probe
from gateway.upstream import attempts, balancers
from tests.simulation.schedule import Schedule
from tests.simulation.tasks import Tasks

SCHEDULES = 20_000 if os.environ.get("SCENARIOS") == "full" else 1500  # over all balancers
STEPS = 30
BALANCERS = plugin.kinds(balancers)
ONLY = os.environ.get("SIMULATION", "")


@pytest.fixture
def tasks(monkeypatch: pytest.MonkeyPatch) -> Iterator[Tasks]:
    monkeypatch.setattr(plugin, "kinds", functools.cache(plugin.kinds))  # it reads the folder, for each worker anew
    with Tasks() as started:
        yield started


def simulate(balancer: str, seed: int, tasks: Tasks, steps: int = STEPS) -> Counter[str]:
    """What the schedule came by."""
    schedule = Schedule(seed, balancer, tasks)
    try:
        schedule.run(steps)
    except Exception as error:
        trace = "\n".join(schedule.trace if ONLY else schedule.trace[-15:])
        raise AssertionError(f"SIMULATION={balancer}:{seed}: {error}\n{trace}") from error
    return schedule.model.seen


@pytest.mark.parametrize("balancer", BALANCERS)
def test_the_invariants_hold_in_every_schedule(balancer: str, tasks: Tasks) -> None:
    seeds = range(SCHEDULES // len(BALANCERS))
    if ONLY:
        name, _, seed = ONLY.partition(":")
        seeds = range(int(seed), int(seed) + 1) if name == balancer else range(0)
    seen: Counter[str] = Counter()
    for seed in seeds:
        seen += simulate(balancer, seed, tasks)
    if not ONLY:
        for what in ("picks", "probes", "answers", "leaves", "overdue", "dies", "reload", "deregisters"):
            assert seen[what] > len(seeds) / 20, f"{what}: {seen}"


def test_a_seed_brings_the_same_schedule_back(tasks: Tasks) -> None:
    traces = []
    for _ in range(2):
        schedule = Schedule(7, "round_robin", tasks)
        schedule.run(STEPS)
        traces.append(schedule.trace)
    assert traces[0] == traces[1]


# --- faults that it must find ---------------------------------------------------------------------------------------
def found(tasks: Tasks, what: str, seeds: int = 200) -> None:
    with pytest.raises(AssertionError, match=what):
        for seed in range(seeds):
            simulate("round_robin", seed, tasks)


def test_it_finds_a_probe_that_is_not_given_back(tasks: Tasks, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that leaves keeps its place as a probe, without end."""
    monkeypatch.setattr(Breaker, "allow", functools.partialmethod(_allow_for_ever))
    monkeypatch.setattr(Probe, "done", lambda self, ok, *rest: None if ok is None else Permit.done(self, ok, *rest))
    found(tasks, "all is well|good requests")


def _allow_for_ever(self: Breaker, lease: float = 0.0, _allow=Breaker.allow) -> Permit | None:  # type: ignore[no-untyped-def]
    return _allow(self, 1e9)


def test_it_finds_a_probe_too_many(tasks: Tasks, monkeypatch: pytest.MonkeyPatch) -> None:
    of = Breaker.__init__

    def generous(self, record, judge, instance, settings):  # type: ignore[no-untyped-def]
        of(self, record, judge, instance, settings)
        self._limits = self._limits._replace(probes=self._limits.probes + 1)

    monkeypatch.setattr(Breaker, "__init__", generous)
    found(tasks, "3 probes at")


def test_it_finds_a_pick_of_an_open_instance(tasks: Tasks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Breaker, "open_until", lambda self, now: 0.0)
    monkeypatch.setattr(Breaker, "allow", lambda self, lease=0.0: Permit(self, None, self.record.read()[1]))
    found(tasks, "picked with an open breaker")


def test_it_finds_a_body_that_stays_in_flight(tasks: Tasks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts._Streamed, "close", lambda self: None)
    found(tasks, "in flight to")
