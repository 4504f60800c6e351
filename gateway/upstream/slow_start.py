"""Slow start: an instance that is new or came back gets a share that grows from nothing to the whole.

Caches, pools and just-in-time compilers of an instance that has just started are cold; its whole share at once may
push it over. For `slow_start` seconds it gets a fraction of its share that grows linearly from 0 to 1 (as Envoy's slow
start mode with aggression 1).

How that is done depends on what a balancer goes by. One that gives out turns, or goes by a key, chooses as ever, and
its choice of such an instance stands with that probability; else one of the settled instances is chosen. One that goes
by load would choose the newcomer, which has none, nearly always: so lots are drawn first, the newcomer's as long as
that fraction of its weight, and it is asked only about the settled ones.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence

from gateway.exchange import Exchange
from gateway.state.registry import Instance

from .balancers import Balancer, Chooser


class Ramp:
    """starts: when each of the instances that came did so, by key, monotonic seconds. length: of the slow start,
    seconds. chance: evenly distributed from 0, below 1."""

    def __init__(
        self,
        starts: Mapping[str, float],
        length: float,
        *,
        now: Callable[[], float],
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._starts = starts
        self._length = length
        self._now = now
        self._chance = chance

    def by_turn(self, choose: Chooser, others: Balancer, settled: Sequence[Instance]) -> Chooser:
        """choose: among all. others: chooses among the settled ones."""
        starts, length, now, chance, instead = (
            self._starts,
            self._length,
            self._now,
            self._chance,
            others.prepare(settled),
        )

        def chosen(exchange: Exchange) -> Instance:
            instance = choose(exchange)
            start = starts.get(instance.key)
            if start is None or chance() * length < now() - start:
                return instance
            return instead(exchange)

        return chosen

    def by_lot(self, came: Sequence[Instance], settled: Sequence[Instance], balancer: Balancer) -> Chooser:
        """came: those in slow start. balancer: chooses among the settled ones."""
        starts, length, now, chance, choose = (
            self._starts,
            self._length,
            self._now,
            self._chance,
            balancer.prepare(settled),
        )
        total = sum(one.weight for one in (*came, *settled))

        def chosen(exchange: Exchange) -> Instance:
            point, passed = chance() * total, now()
            for instance in came:
                point -= instance.weight * min(1.0, max(0.0, passed - starts[instance.key]) / length)
                if point < 0 and instance.key not in exchange.tried:
                    return instance
            return choose(exchange)

        return chosen
