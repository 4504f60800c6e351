"""Which instances of a service may be picked now: the only filter, in front of every balancer.

An eligible set is kept until something changes: the registry or a breaker of the node (one version tells both), or the
time (a lease ends, an open instance becomes half open). Asking is two comparisons, whatever the number of instances. A
half-open instance is eligible; whether one of its probes is free is decided when it is picked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any

from gateway.config.model import Timeouts
from gateway.state.breakers import Breaker, Breakers
from gateway.state.inflight import InFlight
from gateway.state.registry import Instance, Registry, ServiceView

from .balancers import Balancer, Chooser

BalancerOf = Callable[[ServiceView], Balancer]

MAX_KEPT = 16_384  # services; names come and go with registrations, so the oldest makes room


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """An instance with all that a request to it needs to be let through and counted.

    in_flight, requests: its columns in the counters of those names.
    """

    instance: Instance
    breaker: Breaker | None
    in_flight: int
    requests: int


@dataclass(frozen=True, slots=True, eq=False)
class EligibleSet:
    """What may be picked of a service, while the registry's version is `version` and until `until`, monotonic seconds.

    targets: by the instance's key, those that may be picked. choose: picks one of them; None when there is none.
    all_targets: open ones, too. timeouts: those in force for each route that came by; filled by `attempts`.
    """

    view: ServiceView
    version: int
    until: float
    targets: Mapping[str, Target]
    choose: Chooser | None
    all_targets: Mapping[str, Target]
    timeouts: dict[Any, Timeouts]


class Eligible:
    """The eligible sets of all services. balancer_of: makes a balancer; asked when a set is not as it was."""

    def __init__(self, registry: Registry, breakers: Breakers, inflight: InFlight, balancer_of: BalancerOf) -> None:
        self._registry = registry
        self._version = registry.version
        self._breakers = breakers
        self._inflight = inflight
        self._balancer_of = balancer_of
        self._lock = Lock()  # guards computing; entries are replaced whole, so reading one needs no lock
        self._kept: dict[str, EligibleSet] = {}

    def of(self, service: str, now: float) -> EligibleSet | None:
        """What may be picked of a service at `now`, monotonic seconds; None when there is no such service."""
        kept = self._kept.get(service)
        if kept is not None and kept.version == self._version() and now < kept.until:
            return kept
        with self._lock:
            return self._renew(service, now)

    def _renew(self, service: str, now: float) -> EligibleSet | None:
        """Under the lock."""
        version = self._version()  # before anything is read, so that what changes meanwhile is seen next time
        kept = self._kept.get(service)
        if kept is not None and kept.version == version and now < kept.until:
            return kept  # another thread was faster
        view = self._registry.snapshot().services.get(service)
        if view is None:
            self._kept.pop(service, None)
            return None
        everything = self._targets(view, kept)
        until = min((one.expires for one in view.instances if one.expires is not None), default=math.inf)
        targets: dict[str, Target] = {}
        for key, target in everything.items():
            open_until = 0.0 if target.breaker is None else target.breaker.open_until(now)
            if open_until:
                until = min(until, open_until)
            else:
                targets[key] = target
        choose: Chooser | None = None
        if kept is not None and kept.targets == targets:
            choose = kept.choose
        elif targets:
            choose = self._balancer_of(view).prepare([target.instance for target in targets.values()])
        timeouts = kept.timeouts if kept is not None else {}
        if kept is None and len(self._kept) >= MAX_KEPT:
            del self._kept[next(iter(self._kept))]
        renewed = self._kept[service] = EligibleSet(view, version, until, targets, choose, everything, timeouts)
        return renewed

    def _targets(self, view: ServiceView, kept: EligibleSet | None) -> Mapping[str, Target]:
        """All instances of the view; those that are as they were keep their target, with what its breaker remembers."""
        if kept is None:
            return {one.key: self._target(view, one) for one in view.instances}
        if kept.view is view:
            return kept.all_targets
        before = kept.all_targets
        targets = {}
        for one in view.instances:
            was = before.get(one.key)
            targets[one.key] = was if was is not None and _as_it_was(was.instance, one) else self._target(view, one)
        return targets

    def _target(self, view: ServiceView, instance: Instance) -> Target:
        columns = self._inflight.columns(instance.key)
        breaker = self._breakers.of(instance, view.settings.breaker)
        return Target(instance, breaker, columns.in_flight, columns.requests)


def _as_it_was(was: Instance, now: Instance) -> bool:
    """Whether nothing but the lease differs. One that went and came back has new counters, and another `since`."""
    if was is now:
        return True
    return (was.since, was.weight, was.zone, was.tags) == (now.since, now.weight, now.zone, now.tags)
