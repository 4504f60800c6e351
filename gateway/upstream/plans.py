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
from .slow_start import Ramp
from .sticky import Sticky
from .targets import EligibleSet, Target

BalancerOf = Callable[[ServiceView, str, str], Balancer]
"""Makes a balancer of a service: of which kind, and for which part of its instances, by a name of its own."""

_EVERYBODY = None  # in the place of a route's tags: all of an eligible set, whatever is preferred
_Tags = tuple[str, ...] | None


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """How a route's requests are sent while `eligible` is in force.

    targets: those that may be picked, after narrowing. choose: None when there is none. choose_any: among all that
    `eligible` has, where narrowing left some out.
    retries, budget: both None when one attempt is made. sticky: None without. tokens: what its cookies call an
    instance, by its key; claimed: the targets that they may still claim, by token, those that are draining included.
    """

    eligible: EligibleSet
    timeouts: Timeouts
    targets: Mapping[str, Target]
    choose: Chooser | None
    choose_any: Chooser | None
    retries: RetryPolicy | None
    budget: RetryBudget | None
    sticky: Sticky | None
    tokens: Mapping[str, str]
    claimed: Mapping[str, Target]


class Planner:
    """Makes the plans of one service and keeps what outlives an eligible set: balancers, policies, the budget.

    Used under the lock of `Eligible`. budget_of: by service, share and floor.
    """

    def __init__(
        self,
        view: ServiceView,
        balancer_of: BalancerOf,
        budget_of: Callable[[str, float, float], RetryBudget],
        now: Callable[[], float],
    ) -> None:
        self._view = view
        self._settings: Service = view.settings
        self._balancer_of = balancer_of
        self._budget_of = budget_of
        self._now = now
        self._balancers: dict[tuple[str, _Tags, bool], Balancer] = {}
        self._tokens: dict[str, str] = {}  # of instances, by key
        self._static: dict[Any, tuple[Timeouts, RetryPolicy | None, RetryBudget | None]] = {}  # by route
        sticky = view.settings.sticky
        self._sticky = None if sticky is None else Sticky(view.name, sticky)

    def plan(self, eligible: EligibleSet, route: Any, choosers: dict[Any, Chooser]) -> Plan:
        """choosers: those of this eligible set so far; another route may have asked for the same one."""
        if not _reachable(eligible.view, route):
            raise unreachable(eligible.view.name)
        static = self._static.get(route)
        if static is None:
            static = self._static[route] = self._policies(route)
        timeouts, retries, budget = static
        kind = self._settings.balancer
        tags: tuple[str, ...] = ()
        if route is not None:
            kind, tags = route.balancer or kind, tuple(sorted(route.tags))
        everybody = [one.instance for one in eligible.targets.values()]
        among = narrowed(everybody, tags, self._settings.prefer_zone)
        chooser = self._chooser(eligible, choosers, kind, tags, among)
        any_of_all: Chooser | None = None
        targets: Mapping[str, Target] = eligible.targets
        if len(among) < len(targets):
            any_of_all = self._chooser(eligible, choosers, kind, _EVERYBODY, everybody)
            targets = {one.key: targets[one.key] for one in among}
        tokens, claimed = self._claims(eligible, targets if tags else eligible.targets)
        return Plan(eligible, timeouts, targets, chooser, any_of_all, retries, budget, self._sticky, tokens, claimed)

    def _claims(
        self, eligible: EligibleSet, targets: Mapping[str, Target]
    ) -> tuple[Mapping[str, str], Mapping[str, Target]]:
        """The tokens of all instances, and the targets that a cookie may claim. A nearer zone moves no client."""
        if self._sticky is None:
            return {}, {}
        known = self._tokens
        self._tokens = tokens = {key: known.get(key) or self._sticky.token(key) for key in eligible.all_targets}
        return tokens, {tokens[key]: target for key, target in (*eligible.draining.items(), *targets.items())}

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
        tags: _Tags,
        among: Sequence[Instance],
    ) -> Chooser | None:
        """For a part of the instances: those that these tags, or _EVERYBODY, leave."""
        if not among:
            return None
        chooser = choosers.get((kind, tags))
        if chooser is None:
            starts = {one.key: eligible.ramping[one.key] for one in among if one.key in eligible.ramping}
            settled = [one for one in among if one.key not in starts]
            balancer = self._balancer(kind, tags)
            if not starts or not settled:
                chooser = balancer.prepare(among)
            else:
                ramp = Ramp(starts, self._settings.slow_start, now=self._now)
                if balancer.by_load:
                    chooser = ramp.by_lot([one for one in among if one.key in starts], settled, balancer)
                else:
                    chooser = ramp.by_turn(balancer.prepare(among), self._balancer(kind, tags, settled=True), settled)
            choosers[kind, tags] = chooser
        return chooser

    def _balancer(self, kind: str, tags: _Tags, *, settled: bool = False) -> Balancer:
        made = self._balancers.get((kind, tags, settled))
        if made is None:
            part = "" if tags == () else repr(tags)
            name = f"{part} settled" if settled else part
            made = self._balancers[kind, tags, settled] = self._balancer_of(self._view, kind, name)
        return made


def _reachable(view: ServiceView, route: Any) -> bool:
    """Whether the route leads there. When the client's path names the service, it must be one that the configuration
    lists or exposes: what merely registered itself is not reached by guessing its name."""
    return view.configured or view.settings.expose or route is None or route.service_position is None


def unreachable(name: str | None) -> UnknownService:
    """The same words whether such a service has registered or not: that is no outsider's business."""
    detail = f"no service {name!r} can be reached through this route: it must be listed under services, or be exposed"
    return UnknownService(detail, service=name)


def deadline_of(exchange: Exchange, timeouts: Timeouts) -> float:
    """Until when the answer's head must be there, in monotonic seconds. Notes on the exchange when it was cut short.

    On the internal listener a service may pass its own caller's deadline on: it shortens, it never lengthens.
    """
    seconds = timeouts.request
    if exchange.plane == "internal":
        told = exchange.environ.get("HTTP_X_GATEWAY_DEADLINE_MS", "")
        if told.isascii() and told.isdigit() and len(told) < 10 and int(told) / 1000 < seconds:
            exchange.cut_short = True
            seconds = int(told) / 1000
    return exchange.received + seconds
