"""A breaker for each instance, shared by all workers of the node; the state machine is `operations/breaker.py`.

`breakers.of(instance, settings)` gives a handle, `handle.allow()` a permit, `permit.done(ok)` tells the outcome. While
an instance is closed and has no failure on record, which is nearly always, neither takes a lock: a permit is kept with
the record's stamp, and as long as the stamp stands there is nothing to ask and, for a success, nothing to report. Only
where shares of failed or slow calls are looked at, each call is counted.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from gateway.clock import Clock
from gateway.config.model import Breaker as Settings
from gateway.errors import StoreFull

from .breaker_events import Event, Listener, log
from .calls import Calls
from .ejections import Ejections
from .engines import Engine, Record
from .judging import Identified, Judge, looks_at_shares, window_of
from .leases import Leases
from .listening import tell
from .operations import State, outcomes
from .operations import breaker as machine
from .permits import FreePermit, Permit, Probe, SharePermit, WindowPermit

__all__ = ["PROBE_LEASE", "Action", "Breaker", "Breakers", "Event", "Listener", "Permit", "Probe", "Status", "log"]

PROBE_LEASE = 60.0  # seconds; callers that know their deadline say so

Action = Literal["force_open", "force_close", "disable", "reset"]


@dataclass(frozen=True, slots=True)
class Status:
    """A breaker as it stands. state: one of machine.PHASES; half_open also when the first probe is still to come.

    opened_at, half_open_at: monotonic seconds, None while everything goes; half_open_at None when forced open.
    failures: in a row or within the window, or those that opened it. cause: why it is open, else "".
    """

    state: str
    generation: int
    failures: int
    opened_at: float | None
    half_open_at: float | None
    cause: str = ""


class Breakers:
    """All breakers of the node. listeners: called with each event, in order, in the thread that caused it.

    peers: the keys of all instances of a service, for `max_ejected`. pause: waits so many seconds.
    """

    def __init__(
        self,
        engine: Engine,
        clock: Clock,
        listeners: Sequence[Listener] = (log,),
        peers: Callable[[str], Sequence[str]] = lambda service: (),
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        self._engine = engine
        self._counters = engine.counters("calls", held=False)
        self._clock = clock
        self._ejections = Ejections(engine, peers, pause)
        self._leases = Leases(engine)
        self._listeners = tuple(listeners)

    def of(self, instance: Identified, settings: Settings | None, request_timeout: float = 30.0) -> Breaker | None:
        """A handle on the instance's breaker; None when its service has none. Keep it: it remembers what it read.

        request_timeout: seconds, `timeouts.request` of the service, of which a window may be a multiple.
        """
        if settings is None:
            return None
        record = self._engine.record(machine.ALLOW, instance.key)
        calls = self._calls_of(instance, settings, request_timeout) if looks_at_shares(settings) else None
        judge = Judge(record, calls, instance, settings, request_timeout, self._ejections, self._clock, self._tell)
        return Breaker(record, judge, instance, settings, self._leases, self._clock)

    def _calls_of(self, instance: Identified, settings: Settings, request_timeout: float) -> Calls:
        """Raises StoreFull: there is no room to count them."""
        record = self._engine.record(outcomes.ADD, instance.key)
        slow_over = math.inf if settings.slow_call is None else settings.slow_call.over
        bucket = window_of(settings, request_timeout) / outcomes.BUCKETS
        column = self._counters.column(instance.key)
        return Calls(record, self._counters, column, bucket, slow_over, self._clock.monotonic)

    def subscribe(self, listener: Listener) -> None:
        """Have it told from here on. For the time of wiring, when one thread runs."""
        self._listeners = (*self._listeners, listener)

    def forget(self, key: str) -> None:
        """Forget an instance that is gone, by its key. What is still under way to it says nothing about one that comes
        under the same key."""
        with contextlib.suppress(StoreFull):  # then there was no record, and there is none now
            self._engine.record(machine.FORGET, key).apply(machine.FORGET)
        self._engine.record(outcomes.ADD, key).drop()
        self._counters.release(key)
        self._leases.forget(key)

    def _tell(self, event: Event) -> None:
        tell(self._listeners, event)


class Breaker:
    """A handle on one instance's breaker. Safe in every thread: its fields that change are replaced whole."""

    __slots__ = (
        "_clean", "_clock", "_good", "_judge", "_kind", "_leases", "_limits", "_stamp", "instance", "record",
        "settings",
    )  # fmt: skip

    def __init__(  # noqa: PLR0917
        self, record: Record, judge: Judge, instance: Identified, settings: Settings, leases: Leases, clock: Clock
    ) -> None:
        self.record = record
        self.instance = instance
        self.settings = settings
        self._judge = judge
        self._leases = leases
        self._clock = clock
        self._good = None if judge.calls is None else judge.calls.good
        self._limits = judge.limits
        self._kind = SharePermit if judge.calls is not None else WindowPermit if judge.limits.window else Permit
        self._stamp = record.stamp
        self._clean = Permit(self, None, 0)  # the permit that holds while the record stands, as last read

    def allow(self, lease: float = PROBE_LEASE) -> Permit | None:
        """Leave to send one request, None when it refuses. Half open it is a probe, leased for `lease` seconds."""
        clean, stamp = self._clean, self._stamp()
        if clean.stamp == stamp:
            return clean
        state = self.record.read()
        if state[0] in machine.PASSING:
            return self._passing(stamp, state)
        permit = self._ask(lease)
        if permit is None and self._leases.reclaim(self.instance.key, self.record, self._clock.monotonic()):
            permit = self._ask(lease)
        return permit

    def _ask(self, lease: float) -> Permit | None:
        held = self._leases.hold(self.instance.key)
        admission = None
        try:
            admission = self.record.apply(machine.ALLOW, self._limits, lease)
        finally:
            if admission is None or not admission.admitted or admission.slot < 0:
                self._leases.let_go(held)
        if admission.changed:
            self._judge.half_open()
        if not admission.admitted:
            return None
        if admission.slot < 0:  # it closed in between
            return (self._kind if admission.phase == machine.CLOSED else FreePermit)(self, None, admission.generation)
        return Probe(self, admission, held)

    def open_until(self, now: float) -> float:
        """The monotonic time until which nothing may go (forced open: inf), which is when it will be half open.

        0.0 when something may, a half-open breaker's probes included. Changes nothing; no lock.
        """
        stamp = self._stamp()
        if self._clean.stamp == stamp:
            return 0.0
        state = self.record.read()
        if state[0] in machine.PASSING:
            self._passing(stamp, state)
            return 0.0
        until = machine.open_until(state, self._limits)
        return until if until > now else 0.0

    def closed_at(self) -> float:
        """When it last came back from a time in which not everything could go, monotonic seconds; 0.0: never."""
        return machine.closed_at(self.record.read())

    def steer(self, action: Action) -> None:
        """What an operator orders. Raises errors.StoreFull."""
        self._judge.steered(self.record.apply(machine.STEER, machine.TARGETS[action]), action)

    def _passing(self, stamp: int, state: State) -> Permit:
        phase, generation, failures, *_ = state
        if phase == machine.CLOSED:
            if failures and not self._limits.window:
                return Permit(self, None, generation)
            clean = self._clean = self._kind(self, stamp, generation)
        else:
            clean = self._clean = FreePermit(self, stamp, generation)
        return clean

    def report(self, permit: Permit, ok: bool | None, slot: int, deadline: float) -> None:
        """What `done` comes down to when there is something to write."""
        if not self._judge.report(permit.generation, ok, slot, deadline):
            self._outdated()

    def give_back(self, probe: Probe, ok: bool | None, slot: int, deadline: float, held: int | None) -> None:
        """A probe's end."""
        try:
            self.report(probe, ok, slot, deadline)
        finally:
            self._leases.let_go(held)

    def count(self, permit: Permit, ok: bool, seconds: float | None) -> None:
        """What `done` comes down to when each call counts."""
        if ok and permit.stamp == self._stamp() and self._good is not None and self._good(seconds):
            return
        if not self._judge.count(permit.generation, ok, seconds):
            self._outdated()

    def _outdated(self) -> None:
        # A transition, or the record is gone: its expiry leaves the stamp as it is, so read it anew in any case.
        self._clean = Permit(self, None, 0)

    def status(self, now: float) -> Status:
        """How it stands, for people to read."""
        state = self.record.read()
        phase, generation, _, _, reopenings, cause, opened_at, *_ = state
        failures = machine.failures_of(state, now, self._limits)
        if phase in machine.PASSING:
            return Status(machine.PHASES[phase], generation, failures, None, None)
        if phase == machine.FORCED_OPEN:
            return Status(machine.PHASES[phase], generation, failures, opened_at, None)
        half_open_at = opened_at + machine.open_phase(self._limits, reopenings)
        name = "open" if phase == machine.OPEN and now < half_open_at else "half_open"
        return Status(name, generation, failures, opened_at, half_open_at, machine.CAUSES[cause])

    def __repr__(self) -> str:
        phase, generation, failures, successes, *_ = self.record.read()
        return (
            f"Breaker({self.instance.key!r}, {machine.PHASES[phase]}, generation={generation}, "
            f"failures={failures}, successes={successes})"
        )
