"""What the outcome of a request does to its instance's breaker: counted, opened, closed, and told.

Rules are alternatives: failures in a row or within the window, the share of failed calls, the share of slow ones. Each
is looked at after every call that it counts. The record decides alone, in one step, unless `max_ejected` may forbid
opening: then the record only counts, and opening is another step under the service's lease (`ejections.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import structlog

from gateway.clock import Clock
from gateway.config.model import Breaker as Settings
from gateway.errors import StoreFull

from .breaker_events import Event
from .calls import Calls
from .ejections import Ejections
from .engines import Record
from .operations import breaker as machine
from .operations.outcomes import NOTHING, Counts

HELD_PAUSE = 1.0  # seconds between two events of one handle that tell of `max_ejected`

_log = structlog.get_logger("gateway.breaker")


class Identified(Protocol):
    """What a breaker needs to know of an instance; `registry.Instance` is one."""

    @property
    def service(self) -> str: ...

    @property
    def id(self) -> str: ...

    @property
    def key(self) -> str: ...


def window_of(settings: Settings, request_timeout: float) -> float:
    """Seconds; 0.0: failures in a row are counted."""
    return 0.0 if settings.window is None else settings.window.resolve(request_timeout)


def looks_at_shares(settings: Settings) -> bool:
    """Whether every call must be counted: for a share, or for more failures than can be told apart by their times."""
    counted = settings.failures > machine.MAX_TIMES
    return settings.window is not None and (
        settings.failure_ratio is not None or settings.slow_call is not None or counted
    )


class Judge:
    """Of one instance. record: its breaker's. calls: None when no share is looked at. tell: takes each event, under no
    lock.

    `report` and `count` return False when the outcome says nothing about the present: its generation is over.
    """

    def __init__(  # noqa: PLR0917
        self,
        record: Record,
        calls: Calls | None,
        instance: Identified,
        settings: Settings,
        request_timeout: float,
        ejections: Ejections,
        clock: Clock,
        tell: Callable[[Event], None],
    ) -> None:
        window = window_of(settings, request_timeout)
        self.limits = machine.Limits(
            settings.failures, window, settings.open_for, settings.max_open_for or 0.0, settings.half_open_probes
        )
        self.calls = calls
        self._record = record
        self._instance = instance
        self._settings = settings
        self._bounded = settings.max_ejected < 1
        self._ejections = ejections
        self._clock = clock
        self._tell = tell
        self._held_at = -math.inf  # replaced whole

    def report(self, generation: int, ok: bool | None, slot: int, deadline: float) -> bool:
        """An outcome where only failures count, or a probe's."""
        try:
            return self._report(generation, ok, slot, deadline, NOTHING)
        except StoreFull as error:
            return self._not_recorded(error)

    def count(self, generation: int, ok: bool, seconds: float | None) -> bool:
        """An outcome where each call counts."""
        calls = self.calls
        assert calls is not None  # noqa: S101
        try:
            counts = calls.add(generation, ok, seconds)
            if not counts.counted:
                if self._record.read()[1] != generation:
                    return False
                # The breaker's record was forgotten, and its generations began anew: so do the counts.
                calls.drop()
                counts = calls.add(generation, ok, seconds)
            current = ok or self._report(generation, ok, -1, 0.0, counts)
            cause = self._reached(counts)
            if cause:
                opened = self._trip(generation, cause, counts)
                if opened is None:
                    self._held(self._record.read()[2], counts)
                return opened is None
            return current
        except StoreFull as error:
            return self._not_recorded(error)

    def steered(self, steered: machine.Steered, action: str) -> None:
        """Tell what an operator ordered."""
        if steered.changed:
            self._event("steered", steered.before, steered.after, action, 0)

    def half_open(self) -> None:
        """Tell that the first probe was let through."""
        self._event("half_open", machine.OPEN, machine.HALF_OPEN, "open_for", 0)

    def _report(self, generation: int, ok: bool | None, slot: int, deadline: float, counts: Counts) -> bool:
        outcome = self._record.apply(machine.REPORT, generation, ok, slot, deadline, self.limits, self._bounded)
        if outcome.changed and outcome.phase == machine.CLOSED:
            self._event("closed", machine.HALF_OPEN, machine.CLOSED, "probes_succeeded", 0)
        elif outcome.changed and slot >= 0:
            self._opened(machine.HALF_OPEN, machine.PROBE_FAILED, outcome, counts)
        elif outcome.counted and ok is False and slot < 0:
            self._event("failure", machine.CLOSED, machine.CLOSED, "failure", outcome.failures, counts)
            if outcome.changed:
                self._opened(machine.CLOSED, machine.FAILURES, outcome, counts)
            elif outcome.due and self._trip(generation, machine.FAILURES, counts) is None:
                self._held(outcome.failures, counts)
        return outcome.counted

    def _reached(self, counts: Counts) -> int:
        """The rule by which these counts open it, 0 when there is none."""
        settings = self._settings
        calls, failures, slow, _ = counts
        if settings.failures > machine.MAX_TIMES and failures >= settings.failures:
            return machine.FAILURES  # more than the record can tell apart by their times
        if calls >= settings.minimum_calls:
            if settings.failure_ratio is not None and failures / calls >= settings.failure_ratio:
                return machine.FAILURE_RATIO
            if settings.slow_call is not None and slow / calls >= settings.slow_call.ratio:
                return machine.SLOW_CALL
        return 0

    def _trip(self, generation: int, cause: int, counts: Counts) -> bool | None:
        """Open it: whether this did, and no other. None: it stays closed, as `max_ejected` wants it."""
        trip = partial(self._record.apply, machine.TRIP, generation, cause)
        if self._bounded:
            found = self._ejections.open(self._instance.service, self._settings.max_ejected, trip)
            if found is None:
                phase, current, *_ = self._record.read()
                return None if phase == machine.CLOSED and current == generation else False
        else:
            found = trip()
        if found.changed:
            self._opened(machine.CLOSED, cause, found, counts)
        return found.changed

    def _held(self, failures: int, counts: Counts) -> None:
        now = self._clock.monotonic()
        if now - self._held_at >= HELD_PAUSE:
            self._held_at = now
            self._event("held", machine.CLOSED, machine.CLOSED, "max_ejected", failures, counts)

    def _not_recorded(self, error: StoreFull) -> bool:
        # The answer that is being reported must not be lost over it.
        _log.error("breaker_not_recorded", service=self._instance.service, instance=self._instance.id, why=error.detail)
        return True

    def _opened(self, before: int, cause: int, outcome: machine.Outcome, counts: Counts) -> None:
        open_for = machine.open_phase(self.limits, outcome.reopenings)
        why = machine.CAUSES[cause]
        self._event(
            "opened", before, machine.OPEN, why, outcome.failures, counts,
            open_for=open_for, deregister=self._settings.deregister,
        )  # fmt: skip

    def _event(  # noqa: PLR0917
        self, name: str, before: int, after: int, cause: str, failures: int, counts: Counts = NOTHING, **more: Any
    ) -> None:
        instance, phases = self._instance, machine.PHASES
        calls, failed, slow, _ = counts
        self._tell(
            Event(
                name=name, at=self._clock.wall(), service=instance.service, instance=instance.id, key=instance.key,
                before=phases[before], after=phases[after], cause=cause, failures=failures,
                threshold=self._settings.failures, calls=calls, failed=failed, slow=slow,
                window=self.limits.window or None, **more,
            )
        )  # fmt: skip
