"""The breaker said in other words: plain lists of times, phases that are new objects, no generations, no buckets of
counts. `BreakerAgainstModel` drives real handles and this side by side; what the handles are is the test's choice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from gateway.clock import FakeClock
from gateway.config.model import Breaker as Settings
from gateway.config.model import SlowCall
from gateway.config.units import Window
from gateway.state.breakers import Action, Breakers, Permit
from gateway.state.engines import Engine
from gateway.state.operations.breaker import MAX_TIMES
from gateway.state.registry import Instance

INSTANCES = 3
LEASE = 4.0

Told = tuple[str, int, str]  # an event's name, the instance's number, the cause


# --- the handles ------------------------------------------------------------------------------------------------------
class Hands:
    """What one worker has: a handle on the breaker of each instance. Permits are numbers, so that they can travel."""

    def __init__(self, engine: Engine, clock: FakeClock) -> None:
        self.clock = clock
        self.told: list[Told] = []
        self.keys: list[str] = []
        self.breakers = Breakers(engine, clock, [self._listen], peers=lambda service: self.keys)
        self.permits: list[Permit] = []

    def _listen(self, event: Any) -> None:
        self.told.append((event.name, int(event.instance), event.cause))

    def begin(self, service: str, settings: Settings) -> None:
        """Another service, nothing of which was there before."""
        instances = [Instance(service, str(number), "http://h:1") for number in range(INSTANCES)]
        self.keys = [one.key for one in instances]
        self.handles = [self.breakers.of(one, settings, 2.0) for one in instances]
        self.permits = []
        self.told = []

    def allow(self, instance: int) -> tuple[int, bool] | None:
        """The permit's number and whether it is a probe; None: refused."""
        permit = self.handles[instance].allow(LEASE)  # type: ignore[union-attr]
        if permit is None:
            return None
        self.permits.append(permit)
        return len(self.permits) - 1, permit.is_probe

    def done(self, number: int, ok: bool | None, seconds: float) -> None:
        self.permits[number].done(ok, seconds)

    def steer(self, instance: int, action: Action) -> None:
        self.handles[instance].steer(action)  # type: ignore[union-attr]

    def standing(self) -> list[tuple[str, float, float, int]]:
        """Of each instance: the state, until when it is open, when it last came back, its failures."""
        now = self.clock.monotonic()
        return [
            (status.state, one.open_until(now), one.closed_at(), status.failures)
            for one in self.handles
            if one is not None and (status := one.status(now))
        ]

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)

    def take_told(self) -> list[Told]:
        told, self.told = self.told, []
        return told


class Remote(Protocol):
    """`Hands`, wherever they are."""

    def __call__(self, method: str, *args: Any) -> Any: ...


def local(engine: Engine, clock: FakeClock) -> Remote:
    hands = Hands(engine, clock)
    return lambda method, *args: getattr(hands, method)(*args)


# --- the model --------------------------------------------------------------------------------------------------------
@dataclass(eq=False)
class Phase:
    """From its beginning to its end. calls: (when, failed, slow). failures: when, while closed."""

    name: str
    began: float
    failures: list[float] = field(default_factory=list)
    calls: list[tuple[float, bool, bool]] = field(default_factory=list)
    good_probes: int = 0
    probes: list[Ticket] = field(default_factory=list)


@dataclass(eq=False)
class Ticket:
    instance: int
    phase: Phase
    worker: int
    number: int
    ends: float = math.inf


class Model:
    """One service. told: what happens, as it should be told."""

    def __init__(self, settings: Settings, now: float) -> None:
        self.settings = settings
        self.window = None if settings.window is None else settings.window.resolve(2.0)
        self.now = now
        self.phases = [Phase("closed", now) for _ in range(INSTANCES)]
        self.reopened = [0] * INSTANCES
        self.came_back = [0.0] * INSTANCES
        self.opened_by = [0] * INSTANCES
        self.told: list[Told] = []
        self.held: dict[tuple[int, int], float] = {}

    def enter(self, instance: int, name: str) -> None:
        passes, passed = (one in ("closed", "forced_closed", "disabled") for one in (name, self.phases[instance].name))
        if passes and not passed:
            self.came_back[instance] = self.now
        self.phases[instance] = Phase(name, self.now)

    def open_until(self, instance: int) -> float:
        phase, settings = self.phases[instance], self.settings
        if phase.name == "forced_open":
            return math.inf
        if phase.name != "open":
            return 0.0
        length = settings.open_for
        for _ in range(self.reopened[instance] if settings.max_open_for else 0):
            length = min(2 * length, settings.max_open_for or 0.0)
        return phase.began + length if phase.began + length > self.now else 0.0

    def state(self, instance: int) -> str:
        name = self.phases[instance].name
        return "half_open" if name == "open" and not self.open_until(instance) else name

    def failures(self, instance: int) -> int:
        """As it is shown."""
        phase = self.phases[instance]
        if phase.name in ("open", "half_open"):
            return self.opened_by[instance]
        return self._count(phase.failures, self.now)

    def _count(self, failures: list[float], now: float) -> int:
        """Within a window no more than `MAX_TIMES` are told apart, which shows where `max_ejected` keeps it closed."""
        if self.window is None:
            return len(failures)
        return min(sum(now - at < self.window for at in failures), MAX_TIMES)

    def admits(self, instance: int) -> bool:
        phase = self.phases[instance]
        if phase.name == "open" and not self.open_until(instance):
            self.told.append(("half_open", instance, "open_for"))
            self.enter(instance, "half_open")
            phase = self.phases[instance]
        if phase.name == "half_open":
            return sum(one.ends > self.now for one in phase.probes) < self.settings.half_open_probes
        return phase.name not in ("open", "forced_open")

    def steer(self, instance: int, action: str) -> None:
        name = {"force_open": "forced_open", "force_close": "forced_closed", "disable": "disabled"}.get(
            action, "closed"
        )
        if name != "closed" and self.phases[instance].name == name:
            return
        self.enter(instance, name)
        self.reopened[instance] = 0
        self.told.append(("steered", instance, action))

    def outcome(self, ticket: Ticket, ok: bool | None, seconds: float) -> None:
        phase, instance = ticket.phase, ticket.instance
        if phase is not self.phases[instance]:
            return
        if ticket in phase.probes:
            self._probed(ticket, ok)
        elif phase.name == "closed" and ok is not None:
            self._called(ticket, ok, seconds)

    def _probed(self, ticket: Ticket, ok: bool | None) -> None:
        phase, instance = ticket.phase, ticket.instance
        phase.probes.remove(ticket)
        phase.good_probes += ok is True
        if ok is False:
            self.reopened[instance] += 1
            self.enter(instance, "open")
            self.told.append(("opened", instance, "probe_failed"))
        elif phase.good_probes == self.settings.half_open_probes:
            self.reopened[instance] = 0
            self.enter(instance, "closed")
            self.told.append(("closed", instance, "probes_succeeded"))

    def _called(self, ticket: Ticket, ok: bool, seconds: float) -> None:
        phase, instance, settings = ticket.phase, ticket.instance, self.settings
        slow = settings.slow_call is not None and seconds > settings.slow_call.over
        phase.calls.append((self.now, not ok, slow))
        if ok and self.window is None:
            phase.failures.clear()
        if not ok:
            phase.failures.append(self.now)
            self.told.append(("failure", instance, "failure"))
            if self.failures(instance) >= settings.failures:
                if self._may_open(instance):
                    self._open(instance, "failures")
                    return
                self._hold(ticket)
        cause = self._share_reached(phase)
        if cause is not None and self._may_open(instance):
            self._open(instance, cause)
        elif cause is not None:
            self._hold(ticket)

    def _share_reached(self, phase: Phase) -> str | None:
        settings, window = self.settings, self.window
        if window is None:
            return None
        tenth = window / 10
        calls = [call for call in phase.calls if self.now // tenth - call[0] // tenth < 10]
        if len(calls) < settings.minimum_calls:
            return None
        if settings.failure_ratio is not None and sum(call[1] for call in calls) >= settings.failure_ratio * len(calls):
            return "failure_ratio"
        if settings.slow_call and sum(call[2] for call in calls) >= settings.slow_call.ratio * len(calls):
            return "slow_call"
        return None

    def _may_open(self, instance: int) -> bool:
        out = sum(phase.name in ("open", "half_open") for phase in self.phases)
        return self.settings.max_ejected == 1 or out < max(1, int(self.settings.max_ejected * INSTANCES))

    def _open(self, instance: int, cause: str) -> None:
        failures = self.phases[instance].failures  # as the last of them found it
        self.opened_by[instance] = self._count(failures, failures[-1]) if failures else 0
        self.enter(instance, "open")
        self.told.append(("opened", instance, cause))

    def _hold(self, ticket: Ticket) -> None:
        """Each handle tells it once a second."""
        who = (ticket.worker, ticket.instance)
        if self.now - self.held.get(who, -math.inf) >= 1.0:
            self.held[who] = self.now
            self.told.append(("held", ticket.instance, "max_ejected"))


# --- both, side by side -----------------------------------------------------------------------------------------------
ALL_SETTINGS = st.builds(
    Settings,
    failures=st.integers(1, 4),
    window=st.none() | st.sampled_from([Window(seconds=5.0), Window(seconds=10.0), Window(times_request=8.0)]),
    failure_ratio=st.none() | st.sampled_from([0.25, 0.5, 1.0]),
    minimum_calls=st.integers(1, 6),
    slow_call=st.none() | st.builds(SlowCall, over=st.just(1.0), ratio=st.sampled_from([0.5, 0.75])),
    open_for=st.just(8.0),
    max_open_for=st.none() | st.sampled_from([8.0, 20.0, 64.0]),
    half_open_probes=st.integers(1, 3),
    max_ejected=st.sampled_from([1.0, 1.0, 0.7, 0.4]),
)


class BreakerAgainstModel(RuleBasedStateMachine):
    """workers: hands that share an engine and whose clocks stand at the same time. name: of a service not yet used."""

    tickets = Bundle("tickets")

    def __init__(self, workers: Sequence[Remote], clock: FakeClock, name: Callable[[], str]) -> None:
        super().__init__()
        self.workers = workers
        self.clock = clock  # theirs, or one that is moved beside theirs
        self.name = name()

    @initialize(settings=ALL_SETTINGS)
    def begin(self, settings: Settings) -> None:
        for worker in self.workers:
            worker("begin", self.name, settings)
        self.model = Model(settings, self.clock.monotonic())

    @rule(target=tickets, worker=st.integers(0, 99), instance=st.integers(0, INSTANCES - 1))
    def request(self, worker: int, instance: int) -> Ticket | None:
        worker %= len(self.workers)
        expected = self.model.admits(instance)
        phase = self.model.phases[instance]
        found = self.workers[worker]("allow", instance)
        assert (found is not None) == expected
        if found is None:
            return None
        number, is_probe = found
        assert is_probe == (phase.name == "half_open")
        ticket = Ticket(instance, phase, worker, number)
        if is_probe:
            ticket.ends = self.model.now + LEASE
            phase.probes.append(ticket)
        return ticket

    @rule(ticket=tickets, ok=st.sampled_from([True, False, False, None]), seconds=st.sampled_from([0.1, 0.1, 1.0, 1.5]))
    def outcome(self, ticket: Ticket | None, ok: bool | None, seconds: float) -> None:
        if ticket is None or ticket.number < 0:
            return
        number, ticket.number = ticket.number, -1
        self.workers[ticket.worker]("done", number, ok, seconds)
        self.model.outcome(ticket, ok, seconds)

    @rule(worker=st.integers(0, 99), instance=st.integers(0, INSTANCES - 1), failures=st.integers(1, 5))
    def fails_in_a_row(self, worker: int, instance: int, failures: int) -> None:
        """Without it breakers open too seldom for what comes after."""
        for _ in range(failures):
            self.outcome(self.request(worker, instance), False, 0.1)

    @rule(
        worker=st.integers(0, 99), instance=st.integers(0, INSTANCES - 1),
        action=st.sampled_from(["force_open", "force_close", "disable", "reset", "reset"]),
    )  # fmt: skip
    def an_operator_steers(self, worker: int, instance: int, action: Action) -> None:
        self.workers[worker % len(self.workers)]("steer", instance, action)
        self.model.steer(instance, action)

    @rule(seconds=st.sampled_from([0.25, 1.0, 2.5, LEASE, 8.0, 16.0]))
    def time_passes(self, seconds: float) -> None:
        for worker in self.workers:
            worker("advance", seconds)
        self.model.now += seconds

    @invariant()
    def what_happened_was_told_once_and_every_worker_sees_the_same(self) -> None:
        if not hasattr(self, "model"):
            return
        told = [one for worker in self.workers for one in worker("take_told")]
        assert told == self.model.told
        self.model.told = []
        expected = [
            (self.model.state(at), self.model.open_until(at), self.model.came_back[at], self.model.failures(at))
            for at in range(INSTANCES)
        ]
        for worker in self.workers:
            assert worker("standing") == expected
