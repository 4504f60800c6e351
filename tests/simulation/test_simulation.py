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
from gateway.config.built import row_of
from gateway.state.breakers import Breaker, Permit, Probe
from gateway.state.leases import Leases
from gateway.upstream import balancers, reporting
from tests.simulation import schedule
from tests.simulation.schedule import Schedule
from tests.simulation.tasks import Tasks

SCHEDULES = 20_000 if os.environ.get("SCENARIOS") == "full" else 1500  # over all balancers
STEPS = 30
BALANCERS = plugin.kinds(balancers)
MUST_COME = ["picks", "probes", "answers", "leaves", "overdue", "dies", "reload", "deregisters"]
if row_of("services.*.retries") is None:
    MUST_COME.append("retries")
ONLY = os.environ.get("SIMULATION", "")


@pytest.fixture
def tasks(monkeypatch: pytest.MonkeyPatch) -> Iterator[Tasks]:
    monkeypatch.setattr(plugin, "kinds", functools.cache(plugin.kinds))  # it reads the folder, for each worker anew
    with Tasks() as started:
        yield started


def simulate(balancer: str, seed: int, tasks: Tasks, steps: int = STEPS) -> Counter[str]:
    """What the schedule came by."""
    one = Schedule(seed, balancer, tasks)
    try:
        one.run(steps)
    except Exception as error:
        trace = "\n".join(one.trace if ONLY else one.trace[-15:])
        raise AssertionError(f"SIMULATION={balancer}:{seed}: {error}\n{trace}") from error
    return one.model.seen


@pytest.mark.parametrize("balancer", BALANCERS)
def test_the_invariants_hold_in_every_schedule(balancer: str, tasks: Tasks) -> None:
    count = SCHEDULES // len(BALANCERS)
    seeds = range(count // 4 if balancer == "consistent_hash" else count)  # each of its workers builds a ring
    if ONLY:
        name, _, seed = ONLY.partition(":")
        seeds = range(int(seed), int(seed) + 1) if name == balancer else range(0)
    seen: Counter[str] = Counter()
    for seed in seeds:
        seen += simulate(balancer, seed, tasks)
    if not ONLY:
        for what in MUST_COME:
            assert seen[what] > len(seeds) / 20, f"{what}: {seen}"


def test_a_seed_brings_the_same_schedule_back(tasks: Tasks) -> None:
    traces = []
    for _ in range(2):
        one = Schedule(7, "round_robin", tasks)
        one.run(STEPS)
        traces.append(one.trace)
    assert traces[0] == traces[1]


# --- faults that it must find ---------------------------------------------------------------------------------------
def found(tasks: Tasks, what: str, seeds: int = 200) -> None:
    """Some schedule fails with this; what others may find before is not asked."""
    for seed in range(seeds):
        try:
            simulate("round_robin", seed, tasks, 2 * STEPS)
        except AssertionError as error:
            if what in str(error):
                return
    pytest.fail(f"no schedule of {seeds} found {what!r}")


def test_it_finds_a_probe_that_is_not_given_back(tasks: Tasks, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that leaves keeps its place as a probe, without end."""
    done = Probe.done
    monkeypatch.setattr(Probe, "done", lambda self, ok, *rest: None if ok is None else done(self, ok, *rest))
    found(tasks, "probes is left at")


def test_it_finds_a_lease_that_is_not_given_back(tasks: Tasks, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that leaves is counted no more, but keeps its place, and nobody looks for places that nobody holds."""
    allow, give_back = Breaker.allow, Breaker.give_back
    monkeypatch.setattr(Breaker, "allow", lambda self, lease: allow(self, 1e9 if lease == schedule.REQUEST else lease))
    monkeypatch.setattr(Leases, "reclaim", lambda self, key, record, now: False)
    monkeypatch.setattr(
        Breaker, "give_back",
        lambda self, probe, ok, slot, deadline, held: give_back(self, probe, ok, slot, deadline + (ok is None), held),
    )  # fmt: skip
    found(tasks, "places are free at")


def test_it_finds_a_probe_too_many(tasks: Tasks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "MOST_PROBES", schedule.PROBES - 1)
    found(tasks, "2 probes at")


def test_it_finds_a_pick_of_an_open_instance(tasks: Tasks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Breaker, "open_until", lambda self, now: 0.0)
    monkeypatch.setattr(Breaker, "allow", lambda self, lease=0.0: Permit(self, None, self.record.read()[1]))
    found(tasks, "picked with an open breaker")


def test_it_finds_a_body_that_stays_in_flight(tasks: Tasks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporting.Streamed, "close", lambda self: None)
    found(tasks, "in flight to")
