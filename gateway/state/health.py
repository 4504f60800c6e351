"""The health of each instance, shared by all workers of the node; what is decided is in `operations/health.py`.

`healths.of(instance, settings)` gives a handle. `mark` tells whether the instance may be picked, and why not; `failed`
and `probed` say what was seen of it, `steer` what the operator wants. An instance that nothing bad was ever seen of has
no record, and costs a comparison of stamps. Good requests cost nothing at all: they are not reported.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Literal, NamedTuple, Protocol

import structlog

from gateway.clock import Clock
from gateway.config.model import Health as Settings
from gateway.errors import StoreFull

from .engines import Engine, Record
from .judging import Identified
from .listening import tell
from .operations import health as machine
from .operations.health import Finding


class Living(Identified, Protocol):
    """What health needs to know of an instance. since: differs from that of an earlier instance with the same key."""

    @property
    def since(self) -> float: ...


Action = Literal["drain", "undrain", "disable", "enable"]

_log = structlog.get_logger("gateway.health")


class Mark(NamedTuple):
    """What an instance's health says about picking it.

    fit: new requests may go to it. mode: up | unhealthy | draining | disabled, the last of these that holds. reason:
    why it is not up, for people. until: monotonic, when a passive mark ends by itself, else inf. since: monotonic, when
    it last came back (well again, enabled, undrained); 0.0 never, and while it is not fit. healthy: neither probes nor
    requests speak against it, whatever the mode.
    """

    fit: bool
    mode: Literal["up", "unhealthy", "draining", "disabled"]
    reason: str | None
    until: float
    since: float
    healthy: bool = True


_UNTOUCHED = Mark(True, "up", None, math.inf, 0.0)


@dataclass(frozen=True, slots=True)
class Event:
    """What became of an instance, told after the fact and outside of every lock.

    name: unhealthy | healthy, of its health; draining | disabled | enabled, of its mode; was: the one before. at: Unix
    seconds. cause: for people. failures: probes in a row or requests within the window, for unhealthy.
    """

    name: str
    was: str
    service: str
    instance: str
    at: float
    cause: str
    failures: int = 0


Listener = Callable[[Event], None]


def log(event: Event) -> None:
    """The listener that writes each event as one log line: instance_unhealthy, instance_healthy, and so on."""
    logger = _log.bind(service=event.service, instance=event.instance, was=event.was, cause=event.cause)
    if event.name == "unhealthy":
        logger.warning("instance_unhealthy", failures=event.failures)
    elif event.name == "healthy":
        logger.info("instance_healthy")
    elif event.name == "draining":
        logger.info("instance_draining")
    elif event.name == "disabled":
        logger.info("instance_disabled")
    else:
        logger.info("instance_enabled")


class Healths:
    """The health of all instances of the node. listeners: called with each event of this worker, in the thread that
    caused it."""

    def __init__(self, engine: Engine, clock: Clock, listeners: Sequence[Listener] = (log,)) -> None:
        self._engine = engine
        self._clock = clock
        self._lock = Lock()  # guards replacing _listeners, which is read without it
        self._listeners = tuple(listeners)

    def of(self, instance: Living, settings: Settings) -> Health:
        """A handle on the instance's health. Keep it: it remembers what it read."""
        return Health(self._engine.record(machine.PROBED, instance.key), instance, settings, self._tell)

    def forget(self, key: str) -> None:
        """Drop the state of an instance that is gone, by its key."""
        self._engine.record(machine.PROBED, key).drop()

    def subscribe(self, listener: Listener) -> None:
        """Also tell this one from here on."""
        with self._lock:
            self._listeners = (*self._listeners, listener)

    def _tell(self, instance: Living, name: str, was: str, cause: str, failures: int = 0) -> None:
        event = Event(name, was, instance.service, instance.id, self._clock.wall(), cause, failures)
        tell(self._listeners, event)


class Health:
    """A handle on one instance's health. Safe in every thread: its one field that changes is replaced whole."""

    __slots__ = ("_active", "_life", "_passive", "_tell", "_untouched", "instance", "record", "settings")

    def __init__(
        self, record: Record, instance: Living, settings: Settings, tell: Callable[..., None]
    ) -> None:  # fmt: skip
        self.record = record
        self.instance = instance
        self.settings = settings
        self._tell = tell
        self._life = instance.since
        self._active = settings.active is not None
        self._passive = settings.passive is not None
        self._untouched: int | None = None  # the stamp at which there was no record

    def mark(self, now: float) -> Mark:
        """How it stands at `now`, monotonic seconds. Changes nothing; no lock."""
        stamp = self.record.stamp()
        if stamp == self._untouched:
            return _UNTOUCHED
        state = self.record.read()
        if state == machine.INITIAL:
            self._untouched = stamp
            return _UNTOUCHED
        record = machine.Record.of(state)
        if record.life != self._life:
            return _UNTOUCHED
        healthy = machine.well(record, now, self._active, self._passive)
        until = record.until if self._passive and record.until > now else math.inf
        if record.mode == machine.DISABLED:
            return Mark(False, "disabled", "disabled by an operator", until, 0.0, healthy)
        if record.mode == machine.DRAINING:
            return Mark(False, "draining", "drained by an operator", until, 0.0, healthy)
        if not healthy:
            return Mark(False, "unhealthy", self._reason(record, now), until, 0.0, False)
        return Mark(True, "up", None, until, machine.returned_at(record, self._active, self._passive))

    def failed(self) -> None:
        """A request to it failed. Nothing without passive settings."""
        passive = self.settings.passive
        if passive is None:
            return
        try:
            change = self.record.apply(
                machine.FAILED, passive.failures, passive.window, passive.retry_after, self._active, self._life
            )
        except StoreFull as error:  # the answer that is being reported must not be lost over it
            self._not_recorded(error)
            return
        self._report(change, self._passive_cause(change.record), change.record.marked_by)

    def probed(self, finding: Finding) -> None:
        """A probe came to its end. Nothing without active settings."""
        active = self.settings.active
        if active is None:
            return
        try:
            change = self.record.apply(
                machine.PROBED, finding.code, finding.status, active.healthy_after, active.unhealthy_after,
                self._passive, self._life,
            )  # fmt: skip
        except StoreFull as error:
            self._not_recorded(error)
            return
        self._report(change, self._active_cause(change.record), change.record.failures)

    def settle(self) -> None:
        """Tell, once for the node, that `retry_after` is over. Nothing but that depends on it."""
        if self._passive and self.record.stamp() != self._untouched:
            state = self.record.read()
            if machine.Record.of(state).untold:
                self._report(self.record.apply(machine.SETTLE, self._active, self._life), "", 0)

    def steer(self, action: Action) -> bool:
        """What the operator wants; whether that changed the mode. Raises StoreFull."""
        steering = self.record.apply(machine.STEER, action, self._life)
        if steering.was == steering.mode:
            return False
        self._tell(self.instance, machine.MODES[steering.mode], machine.MODES[steering.was], "an operator")
        return True

    def _report(self, change: machine.Change, cause: str, failures: int) -> None:
        if change.returned:
            self._tell(self.instance, "healthy", "unhealthy", "retry_after is over")
        if change.became_unwell:
            self._tell(self.instance, "unhealthy", "healthy", cause, failures)
        if change.became_well:
            self._tell(self.instance, "healthy", "unhealthy", "probes succeed again")

    def _reason(self, record: machine.Record, now: float) -> str:
        reasons = []
        if self._active and record.down:
            reasons.append(self._active_cause(record))
        if self._passive and record.until > now:
            reasons.append(f"{self._passive_cause(record)}; tried again in {record.until - now:.1f}s")
        return ", and ".join(reasons)

    def _active_cause(self, record: machine.Record) -> str:
        return f"{_counted(record.failures, 'probe')} failed: {record.finding}"

    def _passive_cause(self, record: machine.Record) -> str:
        window = 0.0 if self.settings.passive is None else self.settings.passive.window
        return f"{_counted(record.marked_by, 'failure')} within {window:g} s"

    def _not_recorded(self, error: StoreFull) -> None:
        _log.error("health_not_recorded", service=self.instance.service, instance=self.instance.id, why=error.detail)

    def __repr__(self) -> str:
        return f"Health({self.instance.key!r}, {machine.Record.of(self.record.read())})"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
