"""Which instances of a service may be picked now: the only filter, in front of every balancer.

An eligible set is kept until something changes: the registry, a breaker or an instance's health (one version of the
node tells all of them), or the time (a lease ends, an open instance becomes half open, one that was left out for a
while returns). Asking is two comparisons, whatever the number of instances. A half-open instance is eligible; whether
one of its probes is free is decided when it is picked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from threading import Lock
from typing import Any

import structlog

from gateway.clock import Clock
from gateway.config.model import Breaker as BreakerSettings
from gateway.errors import StoreFull
from gateway.state.breakers import Breakers
from gateway.state.budgets import RetryBudgets
from gateway.state.engines import Version
from gateway.state.health import Healths
from gateway.state.inflight import InFlight
from gateway.state.registry import Instance, Registry, ServiceView

from .balancers import Chooser
from .plans import BalancerOf, Plan, Planner
from .targets import EligibleSet, Target

NO_ROOM = 5.0  # seconds after which one that was left out for want of room is looked at again
MAX_KEPT = 16_384  # services; names come and go with registrations, so the oldest makes room

_log = structlog.get_logger("gateway.upstream")
_FAILURES = frozenset(BreakerSettings().failure_on)  # for passive health where there is no breaker


class _Kept:
    """A service's eligible set, the chooser of each kind that was asked for, and what makes its plans."""

    __slots__ = ("choosers", "eligible", "planner")

    def __init__(self, eligible: EligibleSet, planner: Planner, choosers: dict[Any, Chooser]) -> None:
        self.eligible = eligible
        self.planner = planner
        self.choosers = choosers


class Eligible:
    """The eligible sets of all services. balancer_of: makes a balancer; see `plans.BalancerOf`."""

    def __init__(
        self,
        registry: Registry,
        breakers: Breakers,
        healths: Healths,
        inflight: InFlight,
        *,
        budgets: RetryBudgets,
        balancer_of: BalancerOf,
        clock: Clock,
    ) -> None:
        self._registry = registry
        self._version = registry.version
        self._breakers = breakers
        self._healths = healths
        self._inflight = inflight
        self._budget_of: Callable[[str, float, float], Any] = budgets.of
        self._balancer_of = balancer_of
        self._clock = clock
        self._lock = Lock()  # guards computing; entries are replaced whole, so reading one needs no lock
        self._kept: dict[str, _Kept] = {}

    def plan(self, service: str, route: Any, now: float) -> Plan | None:
        """How a request of this route is sent to the service at `now`, monotonic seconds; None: no such service.

        UnknownService: the route does not lead there.
        """
        kept = self._kept.get(service)
        if kept is not None:
            eligible = kept.eligible
            if eligible.version == self._version() and now < eligible.until:
                plan: Plan | None = eligible.plans.get(route)
                if plan is not None:
                    return plan
        with self._lock:
            renewed = self._renew(service, now)
            if renewed is None:
                return None
            eligible = renewed.eligible
            plan = eligible.plans.get(route)
            if plan is None:
                plan = eligible.plans[route] = renewed.planner.plan(eligible, route, renewed.choosers)
            return plan

    def of(self, service: str, now: float) -> EligibleSet | None:
        """What may be picked of a service at `now`, monotonic seconds; None when there is no such service."""
        with self._lock:
            kept = self._renew(service, now)
            return None if kept is None else kept.eligible

    def _renew(self, service: str, now: float) -> _Kept | None:
        """Under the lock."""
        version = self._version()  # before anything is read, so that what changes meanwhile is seen next time
        kept = self._kept.get(service)
        if kept is not None and kept.eligible.version == version and now < kept.eligible.until:
            return kept  # another thread was faster
        view = self._registry.snapshot().services.get(service)
        if view is None:
            self._kept.pop(service, None)
            return None
        was = None if kept is None else kept.eligible
        eligible = self._filter(view, was, version, now)
        if kept is not None and was is not None and was.view.settings is view.settings:
            planner = kept.planner
            same = was.targets == eligible.targets and was.ramping == eligible.ramping
            choosers = kept.choosers if same else {}
        else:
            planner = Planner(view, self._balancer_of, self._budget_of, self._clock.monotonic)
            choosers = {}
        if kept is None and len(self._kept) >= MAX_KEPT:
            del self._kept[next(iter(self._kept))]
        renewed = self._kept[service] = _Kept(eligible, planner, choosers)
        return renewed

    def _filter(self, view: ServiceView, was: EligibleSet | None, version: Version, now: float) -> EligibleSet:
        everything = self._targets(view, was)
        until = min((one.expires for one in view.instances if one.expires is not None), default=math.inf)
        if len(everything) < len(view.instances):
            until = min(until, now + NO_ROOM)
        back_at = math.inf
        targets: dict[str, Target] = {}
        unhealthy: dict[str, Target] = {}
        draining: dict[str, Target] = {}
        ramping: dict[str, float] = {}
        length = view.settings.slow_start
        opened = 0
        for key, target in everything.items():
            mark = target.health.mark(now)
            if mark.mode == "disabled":
                continue
            open_until = 0.0 if target.breaker is None else target.breaker.open_until(now)
            if open_until:
                until = min(until, open_until)
                if mark.mode != "draining":
                    back_at = min(back_at, open_until)
                    opened += 1
            elif not mark.healthy:
                until = min(until, mark.until)
                if mark.mode != "draining":
                    back_at = min(back_at, mark.until)
                    unhealthy[key] = target
            elif mark.mode == "draining":
                draining[key] = target
            else:
                targets[key] = target
                if length and (start := self._came(target, mark.since, now)) + length > now:
                    ramping[key] = start
                    until = min(until, start + length)
        if not targets and view.settings.health.when_none_healthy == "try_all":
            targets = unhealthy
        return EligibleSet(
            view, version, until, targets, everything, draining, ramping, opened, len(unhealthy), back_at, {}
        )

    def _came(self, target: Target, healthy_since: float, now: float) -> float:
        """When the instance began to take requests, monotonic seconds; 0.0: it always did."""
        instance, breaker = target.instance, target.breaker
        registered = instance.since - self._clock.wall() + now if instance.since else 0.0
        return max(registered, healthy_since, 0.0 if breaker is None else breaker.closed_at())

    def _targets(self, view: ServiceView, was: EligibleSet | None) -> Mapping[str, Target]:
        """The instances of the view; those that are as they were keep their target, with what its breaker remembers.

        One that cannot be counted, for want of room, is left out: the others go on. StoreFull when there is no other.
        """
        before: Mapping[str, Target] = {} if was is None else was.all_targets
        if was is not None and was.view is view and len(before) == len(view.instances):
            return before
        targets: dict[str, Target] = {}
        full: StoreFull | None = None
        for one in view.instances:
            kept = before.get(one.key)
            if kept is not None and _as_it_was(kept.instance, one):
                targets[one.key] = kept
                continue
            try:
                targets[one.key] = self._target(view, one)
            except StoreFull as error:
                full = error
                _log.error("instance_left_out", service=view.name, instance=one.id, why=error.detail)
        if full is not None and not targets:
            raise full
        return targets

    def _target(self, view: ServiceView, instance: Instance) -> Target:
        settings = view.settings
        columns = self._inflight.columns(instance.key)
        return Target(
            instance,
            self._breakers.of(instance, settings.breaker, settings.timeouts.request),
            self._healths.of(instance, settings.health),
            settings.health.passive is not None,
            _FAILURES if settings.breaker is None else frozenset(settings.breaker.failure_on),
            columns.in_flight,
            columns.requests,
        )


def _as_it_was(was: Instance, now: Instance) -> bool:
    """Whether nothing but the lease differs. One that went and came back has new counters, and another `since`."""
    if was is now:
        return True
    return (was.since, was.weight, was.zone, was.tags) == (now.since, now.weight, now.zone, now.tags)
