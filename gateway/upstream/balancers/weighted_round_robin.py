"""Instances in proportion to their weights, spread as evenly as can be: weights 5, 1, 1 give a a b a c a a.

The order is nginx's smooth weighted round robin (ngx_http_upstream_round_robin.c): at each turn every instance gains
its weight, the richest one is picked (the first of equals) and pays the sum of all weights. After that sum, divided by
the weights' greatest common divisor, the order repeats. So one period is computed when the eligible set changes, the
state that workers share is a cursor, and a pick is one look-up.

Computing a period. After t turns an instance of weight w that was picked c times has t·w − c·total. Among instances of
equal weight the richest is therefore the one picked least, the first of those: they take turns in order. Only one
instance a weight has to be compared at each turn, so a period costs (sum of weights) × (number of different weights),
not × (number of instances).

Beyond a bound (a million to one, a thousand different weights) the period is not written out. Turn n then takes point
n · step modulo total on a line on which each instance owns as many points as it has weight; step is about the golden
section of the total and has no divisor in common with it. Each point comes once a period, so the shares are exact,
and by the three-distance theorem (Sós 1958) successive points fall evenly over the line, so they are spread, too.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from math import gcd

from gateway.config.model import Service
from gateway.exchange import Exchange
from gateway.state.registry import Instance

from . import Balancer, Chooser, Cursor
from ._spare import spare

MAX_PERIOD = 20_000  # turns written out: 160 KB
MAX_STEPS = 100_000  # comparisons to compute them: about 15 ms, once for an eligible set


class Turns:
    """Whose turn it is, as an index into the weights: `at(n)` for any n from 0. Immutable."""

    __slots__ = ("_ends", "_order", "_step", "period")

    def __init__(self, weights: Sequence[int]) -> None:
        divisor = gcd(*weights)
        reduced = [weight // divisor for weight in weights]
        self.period = sum(reduced)
        self._order: tuple[int, ...] = ()
        self._ends: list[int] = []
        self._step = 0
        if self.period <= MAX_PERIOD and self.period * len(set(reduced)) <= MAX_STEPS:
            self._order = smooth(reduced)
        else:
            self._ends = list(accumulate(reduced))
            self._step = _golden(self.period)

    def at(self, n: int) -> int:
        if self._order:
            return self._order[n % self.period]
        return bisect_right(self._ends, n * self._step % self.period)


def smooth(weights: Sequence[int]) -> tuple[int, ...]:
    """One period of smooth weighted round robin, as indices into the weights."""
    total = sum(weights)
    members: dict[int, list[int]] = {}
    for index, weight in enumerate(weights):
        members.setdefault(weight, []).append(index)
    groups = [_Group(weight, indices) for weight, indices in members.items()]
    order = []
    for _ in range(total):
        richest = groups[0]
        for group in groups:
            group.wealth += group.weight
            if group.wealth > richest.wealth or (group.wealth == richest.wealth and group.next < richest.next):
                richest = group
        order.append(richest.next)
        richest.take(total)
    return tuple(order)


class _Group:
    """Instances of one weight. wealth: of the one whose turn is next; the others that follow in this round equal it."""

    __slots__ = ("indices", "next", "place", "wealth", "weight")

    def __init__(self, weight: int, indices: list[int]) -> None:
        self.weight = weight
        self.indices = indices
        self.wealth = 0
        self.place = 0
        self.next = indices[0]

    def take(self, total: int) -> None:
        self.place += 1
        if self.place == len(self.indices):  # each has paid once: the next round's first is as rich as its last
            self.place = 0
            self.wealth -= total
        self.next = self.indices[self.place]


def _golden(total: int) -> int:
    """The number next above total's golden section that has no divisor in common with it."""
    step = round(total * 0.6180339887498949)
    while gcd(step, total) != 1:
        step += 1
    return step


class WeightedRoundRobin:
    by_load = False

    def __init__(self, cursor: Cursor) -> None:
        self._cursor = cursor

    def prepare(self, instances: Sequence[Instance]) -> Chooser:
        among = tuple(instances)
        if len(among) == 1:
            return lambda exchange: among[0]  # nobody's turn to note
        cursor, at = self._cursor, Turns([instance.weight for instance in among]).at

        def choose(exchange: Exchange) -> Instance:
            if exchange.tried:
                return spare(among, exchange, weighted=True)
            return among[at(cursor())]

        return choose


def build(settings: Service, *, cursor: Cursor, **deps: object) -> Balancer:
    return WeightedRoundRobin(cursor)
