"""A breaker for each instance, shared by all workers of the node; the state machine is `operations/breaker.py`.

`breakers.of(instance, settings)` gives a handle, `handle.allow()` a permit, `permit.done(ok)` tells the outcome. While
an instance is closed and has no failure on record, which is nearly always, neither takes a lock: a permit is kept with
the record's stamp, and as long as the stamp stands there is nothing to ask and, for a success, nothing to report.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from gateway.clock import Clock
from gateway.config.model import Breaker as Settings
from gateway.errors import StoreFull

from .engines import Engine, Record
from .operations import State
from .operations import breaker as machine

PROBE_LEASE = 60.0  # seconds; callers that know their deadline say so

_log = structlog.get_logger("gateway.breaker")
_BECAME = {machine.CLOSED: "closed", machine.OPEN: "opened", machine.HALF_OPEN: "half_open"}  # constant


class Identified(Protocol):
    """What a breaker needs to know of an instance; `registry.Instance` is one."""

    @property
    def service(self) -> str: ...

    @property
    def id(self) -> str: ...

    @property
    def key(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Event:
    """What became of a breaker, told after the fact and outside of every lock.

    name: failure | opened | half_open | closed. at: Unix seconds. failures: in a row, of `threshold`; for `opened` out
    of half open, those that had opened it before. open_for: seconds, for `opened`.
    """

    name: str
    service: str
    instance: str
    at: float
    failures: int
    threshold: int
    open_for: float


@dataclass(frozen=True, slots=True)
class Status:
    """A breaker as it stands. state: closed | open | half_open, the last also when the first probe is still to come.

    opened_at, half_open_at: monotonic seconds, None while closed. failures: in a row, or those that opened it.
    """

    state: str
    generation: int
    failures: int
    opened_at: float | None
    half_open_at: float | None


Listener = Callable[[Event], None]


def log(event: Event) -> None:
    """The listener that writes each event as one log line."""
    logger = _log.bind(service=event.service, instance=event.instance)
    if event.name == "failure":
        logger.info("breaker_failure", failures=event.failures, threshold=event.threshold)
    elif event.name == "opened":
        logger.warning("breaker_opened", failures=event.failures, open_for=event.open_for)
    elif event.name == "half_open":
        logger.info("breaker_half_open")
    else:
        logger.info("breaker_closed")


class Breakers:
    """All breakers of the node. listeners: called with each event, in order, in the thread that caused it."""

    def __init__(self, engine: Engine, clock: Clock, listeners: Sequence[Listener] = (log,)) -> None:
        self._engine = engine
        self._clock = clock
        self._listeners = tuple(listeners)

    def of(self, instance: Identified, settings: Settings | None) -> Breaker | None:
        """A handle on the instance's breaker; None when its service has none. Keep it: it remembers what it read."""
        if settings is None:
            return None
        return Breaker(self._engine.record(machine.ALLOW, instance.key), instance, settings, self._tell)

    def forget(self, key: str) -> None:
        """Drop the state of an instance that is gone, by its key."""
        self._engine.record(machine.ALLOW, key).drop()

    def _tell(self, name: str, instance: Identified, settings: Settings, failures: int) -> None:
        event = Event(
            name, instance.service, instance.id, self._clock.wall(), failures, settings.failures, settings.open_for
        )
        for listener in self._listeners:
            listener(event)


class Breaker:
    """A handle on one instance's breaker. Safe in every thread: its one field that changes is replaced whole."""

    __slots__ = ("_clean", "_stamp", "_tell", "instance", "record", "settings")

    def __init__(
        self,
        record: Record,
        instance: Identified,
        settings: Settings,
        tell: Callable[[str, Identified, Settings, int], None],
    ) -> None:
        self.record = record
        self.instance = instance
        self.settings = settings
        self._tell = tell
        self._stamp = record.stamp
        self._clean = Permit(self, None, 0)  # the permit of the closed state without failures, as last read

    def allow(self, lease: float = PROBE_LEASE) -> Permit | None:
        """Leave to send one request, None when it refuses. Half open it is a probe, leased for `lease` seconds."""
        clean, stamp = self._clean, self._stamp()
        if clean.stamp == stamp:
            return clean
        state = self.record.read()
        if state[0] == machine.CLOSED:
            return self._closed(stamp, state)
        settings = self.settings
        admission = self.record.apply(machine.ALLOW, settings.open_for, settings.half_open_probes, lease)
        if admission.changed:
            self._tell("half_open", self.instance, settings, 0)
        if not admission.admitted:
            return None
        if admission.slot < 0:  # it closed in between
            return Permit(self, None, admission.generation)
        return Probe(self, admission)

    def open_until(self, now: float) -> float:
        """The monotonic time until which nothing may go; 0.0 when something may, a half-open breaker's probes included.

        Changes nothing; no lock.
        """
        stamp = self._stamp()
        if self._clean.stamp == stamp:
            return 0.0
        state = self.record.read()
        if state[0] == machine.CLOSED:
            self._closed(stamp, state)
            return 0.0
        until = machine.open_until(state, self.settings.open_for)
        return until if until > now else 0.0

    def _closed(self, stamp: int, state: State) -> Permit:
        _, generation, failures, *_ = state
        if failures:
            return Permit(self, None, generation)
        clean = self._clean = Permit(self, stamp, generation)
        return clean

    def report(self, permit: Permit, ok: bool | None, slot: int, deadline: float) -> None:
        """What `Permit.done` and `Probe.done` come down to when there is something to write."""
        settings = self.settings
        try:
            outcome = self.record.apply(
                machine.REPORT, permit.generation, ok, slot, deadline, settings.failures, settings.half_open_probes
            )
        except StoreFull as error:  # the answer that is being reported must not be lost over it
            _log.error(
                "breaker_not_recorded", service=self.instance.service, instance=self.instance.id, why=error.detail
            )
            return
        if not outcome.counted:
            # A transition, or the record is gone: its expiry leaves the stamp as it is, so read it anew in any case.
            self._clean = Permit(self, None, 0)
        elif outcome.changed:
            self._tell(_BECAME[outcome.phase], self.instance, settings, outcome.failures)
        elif ok is False:
            self._tell("failure", self.instance, settings, outcome.failures)

    def status(self, now: float) -> Status:
        """How it stands, for people to read."""
        phase, generation, failures, _, opened_at, *_ = self.record.read()
        if phase == machine.CLOSED:
            return Status("closed", generation, failures, None, None)
        half_open_at = opened_at + self.settings.open_for
        state = "open" if phase == machine.OPEN and now < half_open_at else "half_open"
        return Status(state, generation, failures, opened_at, half_open_at)

    def __repr__(self) -> str:
        phase, generation, failures, successes, *_ = self.record.read()
        return (
            f"Breaker({self.instance.key!r}, {machine.PHASES[phase]}, generation={generation}, "
            f"failures={failures}, successes={successes})"
        )


class Permit:
    """Leave to send one request to a closed instance. `done` is called once; a permit may be shared by threads.

    stamp: of the record without failures that it stands for; None when the record has some, so that a success counts.
    """

    __slots__ = ("breaker", "generation", "stamp")

    is_probe = False

    def __init__(self, breaker: Breaker, stamp: int | None, generation: int) -> None:
        self.breaker = breaker
        self.stamp = stamp
        self.generation = generation

    def done(self, ok: bool | None, seconds: float | None = None) -> None:
        """How it ended: True, False, or None when nothing was learnt about the instance (the client left).

        seconds: from the attempt's begin to its answer's head, or to its failure; None: not known.
        """
        if ok:
            if self.stamp == self.breaker.record.stamp():
                return  # no failure on record: nothing to take back
        elif ok is None:
            return
        self.breaker.report(self, ok, -1, 0.0)


class Probe(Permit):
    """Leave to send one probe to a half-open instance: a lease, which `done` gives back. Owned by one request."""

    __slots__ = ("_deadline", "_slot")

    is_probe = True

    def __init__(self, breaker: Breaker, admission: machine.Admission) -> None:
        super().__init__(breaker, None, admission.generation)
        self._slot = admission.slot
        self._deadline = admission.until

    def done(self, ok: bool | None, seconds: float | None = None) -> None:
        self.breaker.report(self, ok, self._slot, self._deadline)
