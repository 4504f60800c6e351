"""Who gets a request when the balancer's choice cannot take it, and what to say when nobody can."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator

from gateway.errors import CircuitOpen, NoHealthyInstance, NoInstance
from gateway.exchange import Exchange
from gateway.state.breakers import Permit

from .plans import Plan
from .targets import EligibleSet, Target

MAX_DRAWS = 8  # by the balancer, when what it chose cannot be taken; then the rest are asked in order
BUSY_PROBES = 1.0  # seconds; when to try again where every probe of a half-open instance is under way
NO_INSTANCE = 5.0  # seconds; when to try again where there is nobody: one that restarts is back about then

Picked = tuple[Target, Permit | None]


def pick(exchange: Exchange, plan: Plan, avoid: Collection[str]) -> Picked | None:
    """A target that lets the request through; None when none does, those in `avoid` not asked.

    The balancer is asked first, so that what a half-open instance refuses is spread over all others, instead of falling
    to the one that comes after it. It is told of those as of ones that were tried.
    """
    tried = exchange.tried
    exchange.tried = (*tried, *(key for key in avoid if key not in tried))
    try:
        for target in _candidates(exchange, plan):
            key = target.instance.key
            if key in avoid or (key in exchange.tried and key not in tried):
                continue
            permit = None if target.breaker is None else target.breaker.allow(plan.timeouts.request)
            if permit is not None or target.breaker is None:
                return target, permit
            exchange.tried = (*exchange.tried, key)
    finally:
        exchange.tried = tried
    return None


def _candidates(exchange: Exchange, plan: Plan) -> Iterator[Target]:
    if plan.choose is not None:
        for _ in range(min(MAX_DRAWS, 2 * len(plan.targets))):
            yield plan.targets[plan.choose(exchange).key]
    yield from plan.targets.values()
    if plan.choose_any is not None:  # preferred ones first, but nobody is refused over a preference
        for _ in range(MAX_DRAWS):
            yield plan.eligible.targets[plan.choose_any(exchange).key]
        yield from plan.eligible.targets.values()


def nobody(eligible: EligibleSet, now: float) -> NoInstance | CircuitOpen | NoHealthyInstance:
    view = eligible.view
    name = view.name
    if not view.instances:
        return NoInstance(f"{name} has no instance", service=name, retry_after=NO_INSTANCE)
    wait = min(eligible.back_at - now, BUSY_PROBES if eligible.targets else math.inf)
    if eligible.targets or (eligible.open and not eligible.unhealthy):
        wait = NO_INSTANCE if wait == math.inf else wait  # forced open: nobody knows
        return CircuitOpen(
            f"every instance of {name} that is in service has an open circuit breaker", service=name, retry_after=wait
        )
    active = view.settings.health.active
    pause = NO_INSTANCE if active is None else active.interval
    told = [f"{eligible.unhealthy} unhealthy", f"{eligible.open} with an open circuit breaker"]
    rest = len(view.instances) - eligible.unhealthy - eligible.open
    counts = ", ".join([one for one in told if not one.startswith("0 ")] + ([f"{rest} taken out"] if rest else []))
    return NoHealthyInstance(f"no instance of {name} may be used: {counts}", service=name, retry_after=min(wait, pause))
