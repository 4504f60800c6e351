"""Health probes: one worker of the node sends them, for all.

Theory. The workers elect the prober by a lease (`operations/lease.py`). Whoever holds it renews it well before its end;
when it dies or hangs the lease ends by itself, and the next worker that asks has it; all others ask at that moment. A
lease lasts 0.75 of the shortest interval. A holder that dies just before a probe was due, 1.1 intervals after the last,
is thus replaced 1.85 intervals after it: within two. The new holder probes at once, and what was counted is in the
instances' records, so it goes on counting.

A worker asks only while it is `eligible`: of the generation in force. So the settings of a reload are those that are
probed with, and whoever serves the old ones gives the lease back.

Each instance has its own next time, drawn within ±10 % of the interval, so that probes of many instances do not fall
together (Floyd and Jacobson, "The synchronization of periodic routing messages", 1994). A probe that takes longer than
the interval is not overtaken by another of the same instance.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from itertools import count
from random import Random
from threading import Event, Thread
from typing import Protocol

import structlog

from gateway.clock import Clock
from gateway.config.model import ActiveHealth, Service
from gateway.state.engines import Engine
from gateway.state.health import Health, Healths
from gateway.state.operations.health import Finding
from gateway.state.operations.lease import ACQUIRE, RELEASE, RENEW
from gateway.state.registry import Instance, Registry, ServiceView, Snapshot

from .crew import Work

JITTER = 0.1  # of the interval, either way
LEASE = 0.75  # of the shortest interval
LOOK = 0.2  # seconds at most between looks at the lease, the instances, and whose turn it is
PASSIVE = 4.0  # seconds; taken for the shortest interval where nothing is probed
SETTLE = 1.0  # seconds between looks for returns that nobody has told
RETRY = 5.0  # seconds after an error that was not expected
THREADS = 32

KEY = "prober"  # of the lease's record


class Probe(Protocol):
    """One probe, to its end within `settings.timeout`."""

    def __call__(self, instance: Instance, service: Service, settings: ActiveHealth) -> Finding | None:
        """What it found; None when nothing was learnt about the instance, because the gateway itself was short."""
        ...


class _Target:
    """An instance that is probed, or only watched for its return. busy: a probe is under way or waits for a thread."""

    __slots__ = ("active", "busy", "health", "instance", "service")

    def __init__(self, instance: Instance, service: Service, health: Health) -> None:
        self.instance = instance
        self.service = service
        self.health = health
        self.active = service.health.active
        self.busy = False


class Prober:
    """Probes the instances of all services that want it, while this worker holds the lease.

    submit: has work done beside, such as `Crew.submit`. eligible: whether this worker may probe at all. All state is
    the scheduling thread's own, but for `busy` and `_targets`, which are replaced whole.
    """

    def __init__(
        self,
        *,
        registry: Registry,
        healths: Healths,
        engine: Engine,
        clock: Clock,
        probe: Probe,
        submit: Callable[[Work], None],
        eligible: Callable[[], bool],
        random: Random,
    ) -> None:
        self._registry = registry
        self._healths = healths
        self._clock = clock
        self._probe = probe
        self._submit = submit
        self._eligible = eligible
        self._random = random
        self._lease = engine.record(ACQUIRE, KEY)
        self._token = 0
        self._length = 0.0
        self._snapshot: Snapshot | None = None
        self._targets: dict[str, _Target] = {}
        self._due: list[tuple[float, int, _Target]] = []  # a heap; targets that are gone are passed over
        self._order = count()
        self._settle_at = 0.0
        self._stopping = Event()
        self._thread: Thread | None = None

    def start(self) -> None:
        self._thread = Thread(target=self._run, name="prober", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Returns when the thread has ended and the lease is given back; probes that are under way are not told."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
        self._resign()

    def turn(self, now: float) -> float:
        """Do what is due at `now`, monotonic seconds; when to come again."""
        if not self._eligible():
            self._resign()
            return now + LOOK
        wait = self._wait_for_lease()
        if wait:
            return now + min(LOOK, wait)
        self._look_at_instances(now)
        if now >= self._settle_at:
            self._settle_at = now + SETTLE
            for target in self._targets.values():
                target.health.settle()
        while self._due and self._due[0][0] <= now:
            _, _, target = heapq.heappop(self._due)
            if self._targets.get(target.instance.key) is target and target.active is not None:
                self._plan(target, now, target.active.interval)
                self._begin(target, target.active)
        next_due = self._due[0][0] if self._due else math.inf
        return min(next_due, now + LOOK, now + self._length / 4)

    def _wait_for_lease(self) -> float:
        """Renew the lease, or ask for it; 0.0 when this worker has it, else the seconds after which to ask again."""
        if self._token and self._lease.apply(RENEW, self._token, self._length):
            return 0.0
        self._forget()  # this worker stood still for too long, and another one may have it by now
        self._length = self._length or self._lease_length()
        self._token, wait = self._lease.apply(ACQUIRE, self._length)
        return wait

    def _lease_length(self) -> float:
        views = self._registry.snapshot().services.values()
        intervals = [view.settings.health.active.interval for view in views if view.settings.health.active is not None]
        return LEASE * min(intervals, default=PASSIVE)

    def _resign(self) -> None:
        if self._token:
            self._lease.apply(RELEASE, self._token)
            self._token = 0
        self._forget()

    def _forget(self) -> None:
        self._snapshot, self._targets, self._due = None, {}, []

    def _look_at_instances(self, now: float) -> None:
        """Take in who came and who went. Whoever is new is probed at once."""
        snapshot = self._registry.snapshot()
        if snapshot is self._snapshot:
            return
        self._snapshot = snapshot
        before, targets = self._targets, {}
        for view in snapshot.services.values():
            if view.settings.health.active is None and view.settings.health.passive is None:
                continue
            for instance in view.instances:
                target = before.get(instance.key)
                if target is None:
                    target = self._target(view, instance)
                    self._plan(target, now, 0.0)
                targets[instance.key] = target
        self._targets = targets

    def _target(self, view: ServiceView, instance: Instance) -> _Target:
        return _Target(instance, view.settings, self._healths.of(instance, view.settings.health))

    def _plan(self, target: _Target, since: float, interval: float) -> None:
        if target.active is not None:
            due = since + interval * self._random.uniform(1 - JITTER, 1 + JITTER)
            heapq.heappush(self._due, (due, next(self._order), target))

    def _begin(self, target: _Target, settings: ActiveHealth) -> None:
        if target.busy:
            return
        target.busy = True
        try:
            self._submit(lambda: self._work(target, settings))
        except BaseException:
            target.busy = False
            raise

    def _work(self, target: _Target, settings: ActiveHealth) -> None:
        """In a thread of the crew."""
        try:
            finding = self._probe(target.instance, target.service, settings)
            if finding is not None and self._is_mine(target):
                target.health.probed(finding)
        finally:
            target.busy = False

    def _is_mine(self, target: _Target) -> bool:
        """Whether this worker still probes it, and it is still there: one that went would get a new record that nobody
        drops."""
        key = target.instance.key
        if self._targets.get(key) is not target:
            return False
        snapshot = self._registry.snapshot()
        if snapshot is self._snapshot:
            return True
        view = snapshot.services.get(target.instance.service)
        return view is not None and any(one.key == key for one in view.instances)

    def _run(self) -> None:
        log = structlog.get_logger("gateway.watch")
        while not self._stopping.is_set():
            now = self._clock.monotonic()
            try:
                due = self.turn(now)
            except Exception:
                log.exception("prober_failed")
                due = now + RETRY
            self._stopping.wait(max(0.0, due - self._clock.monotonic()))
