"""Slow start: an instance that is new or came back gets a share that grows from nothing to the whole.

Caches, pools and just-in-time compilers of an instance that has just started are cold; its whole share at once may
push it over. For `slow_start` seconds the balancer's choice of such an instance stands with a probability that grows
linearly from 0 to 1; else one of the settled instances is chosen. So whatever the balancer, the instance's share is
that fraction of what it will be (as Envoy's slow start mode with aggression 1).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

from gateway.exchange import Exchange
from gateway.state.registry import Instance

from .balancers import Chooser


def ramped(
    choose: Chooser,
    settled: Chooser,
    starts: Mapping[str, float],
    length: float,
    *,
    now: Callable[[], float],
    chance: Callable[[], float] = random.random,
) -> Chooser:
    """choose: among all. settled: among those that are not in `starts`. starts: by an instance's key, when it came, in
    monotonic seconds. length: of the slow start, seconds. chance: evenly distributed from 0 to 1."""

    def chosen(exchange: Exchange) -> Instance:
        instance = choose(exchange)
        start = starts.get(instance.key)
        if start is None or chance() * length < now() - start:
            return instance
        return settled(exchange)

    return chosen
