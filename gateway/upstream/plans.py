"""What a route demands of a service, worked out once for each eligible set: so a request only reads attributes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gateway.config.model import Service, Timeouts
from gateway.errors import UnknownService
from gateway.exchange import Exchange
from gateway.state.budgets import RetryBudget
from gateway.state.registry import Instance, ServiceView

from .balancers import Balancer, Chooser
from .narrowing import narrowed
from .retries import RetryPolicy, compiled, merged
from .slow_start import ramped
from .sticky import Sticky
from .targets import EligibleSet, Target

BalancerOf = Callable[[ServiceView, str, str], Balancer]
"""Makes a balancer of a service: of which kind, and for which part of its instances, "" for all of them."""


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """How a route's requests are sent while `eligible` is in force.

    targets: those that may be picked, after narrowing. choose: None when there is none. choose_any: among all that
    `eligible` has, where narrowing left some out.
    retries, budget: both None when one attempt is made. sticky: None without. tokens: what its cookies call targets,
    those that are draining included.
    """

    eligible: EligibleSet
    timeouts: Timeouts
    targets: Mapping[str, Target]
    choose: Chooser | None
    choose_any: Chooser | None
    retries: RetryPolicy | None
    budget: RetryBudget | None
    sticky: Sticky | None
    tokens: Mapping[str, Target]


class Planner:
    """Makes the plans of one service and keeps what outlives an eligible set: balancers, policies, the budget.

    Used under the lock of `Eligible`. budget_of: by service, share and floor.
    """

    def __init__(
        self,
        view: ServiceView,
        balancer_of: BalancerOf,
        budget_of: Callable[[str, float, float], RetryBudget | None],
        now: Callable[[], float],
    ) -> None:
        self._view = view
        self._settings: Service = view.settings
        self._balancer_of = balancer_of
        self._budget_of = budget_of
        self._now = now
        self._balancers: dict[tuple[str, str], Balancer] = {}
        self._static: dict[Any, tuple[Timeouts, RetryPolicy | None, RetryBudget | None]] = {}  # by route
        sticky = view.settings.sticky
        self._sticky = None if sticky is None else Sticky(view.name, sticky)

    def plan(self, eligible: EligibleSet, route: Any, choosers: dict[Any, Chooser]) -> Plan:
        """choosers: those of this eligible set so far; another route may have asked for the same one."""
        if not _reachable(eligible.view, route):
            raise UnknownService(f"there is no service {eligible.view.name!r}", service=eligible.view.name)
        static = self._static.get(route)
        if static is None:
            static = self._static[route] = self._policies(route)
        timeouts, retries, budget = static
        kind, tags = self._settings.balancer, ()
        if route is not None:
            kind, tags = route.balancer or kind, route.tags
        everybody = [one.instance for one in eligible.targets.values()]
        among = narrowed(everybody, tags, self._settings.prefer_zone)
        chooser = self._chooser(eligible, choosers, kind, tags, among)
        any_of_all: Chooser | None = None
        targets: Mapping[str, Target] = eligible.targets
        if len(among) < len(targets):
            any_of_all = self._chooser(eligible, choosers, kind, None, everybody)
            targets = {one.key: targets[one.key] for one in among}
        tokens: Mapping[str, Target] = {}
        if self._sticky is not None:
            token = self._sticky.token
            tokens = {token(key): target for key, target in (*eligible.draining.items(), *targets.items())}
        return Plan(eligible, timeouts, targets, chooser, any_of_all, retries, budget, self._sticky, tokens)

    def _policies(self, route: Any) -> tuple[Timeouts, RetryPolicy | None, RetryBudget | None]:
        settings = self._settings
        timeouts = settings.timeouts
        retries = settings.retries
        if route is not None:
            timeouts = replace(timeouts, **route.timeouts) if route.timeouts else timeouts
            retries = merged(retries, route.retries)
        policy = compiled(retries)
        if policy is None:
            return timeouts, None, None
        return timeouts, policy, self._budget_of(self._view.name, retries.budget, retries.min_per_second)

    def _chooser(
        self,
        eligible: EligibleSet,
        choosers: dict[Any, Chooser],
        kind: str,
        tags: Sequence[str] | None,
        among: Sequence[Instance],
    ) -> Chooser | None:
        """For a part of the instances: those with these tags; None: all, whatever is preferred."""
        if not among:
            return None
        part = "all" if tags is None else ",".join(sorted(tags))
        chooser = choosers.get((kind, part))
        if chooser is None:
            chooser = self._balancer(kind, part).prepare(among)
            starts = {one.key: eligible.ramping[one.key] for one in among if one.key in eligible.ramping}
            settled = [one for one in among if one.key not in starts]
            if starts and settled:
                others = self._balancer(kind, f"{part} settled").prepare(settled)
                chooser = ramped(chooser, others, starts, self._settings.slow_start, now=self._now)
            choosers[kind, part] = chooser
        return chooser

    def _balancer(self, kind: str, part: str) -> Balancer:
        made = self._balancers.get((kind, part))
        if made is None:
            made = self._balancers[kind, part] = self._balancer_of(self._view, kind, part)
        return made


def _reachable(view: ServiceView, route: Any) -> bool:
    """Whether the route leads there. When the client's path names the service, it must be one that the configuration
    lists or exposes: what merely registered itself is not reached by guessing its name."""
    return view.configured or view.settings.expose or route is None or route.service_position is None


def deadline_of(exchange: Exchange, timeouts: Timeouts) -> float:
    """Until when the answer's head must be there, in monotonic seconds.

    On the internal listener a service may pass its own caller's deadline on: it shortens, it never lengthens.
    """
    deadline = exchange.received + timeouts.request
    if exchange.plane == "internal":
        told = exchange.environ.get("HTTP_X_GATEWAY_DEADLINE_MS", "")
        if told.isascii() and told.isdigit() and len(told) < 10:
            return min(deadline, exchange.received + int(told) / 1000)
    return deadline
