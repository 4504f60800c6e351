"""The power of two choices: two instances are drawn, the one with fewer requests in flight for its weight is taken.

Drawing one alone lets the fullest of n grow with log n / log log n, the better of two only with log log n
(Mitzenmacher, The Power of Two Choices in Randomized Load Balancing, IEEE TPDS 2001). It is nearly as good as the least
of all, reads two counts whatever their number, and workers that decide at the same moment do not all run to the same
idle instance.

Both are drawn in proportion to their weights, the second among those that the first left; of two that are equally busy
the first is taken. So an idle service is served in proportion to the weights.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate

from gateway.config.model import Service
from gateway.exchange import Exchange
from gateway.state.registry import Instance

from . import Balancer, Chooser, Loads

Uniform = Callable[[], float]  # from 0, below 1

_DRAWS = 8  # pairs drawn to find an instance that has not failed the request before


def equal_pair(count: int, uniform: Uniform) -> tuple[int, int]:
    """Two different places below count, at least 2, each pair as likely as any other."""
    first, second = int(uniform() * count), int(uniform() * (count - 1))
    return first, second + (second >= first)


def weighted_pair(ends: Sequence[int], uniform: Uniform) -> tuple[int, int]:
    """Two different places drawn by weight without replacement. ends: the sums of the weights up to each, included."""
    first = bisect_right(ends, int(uniform() * ends[-1]))
    start = ends[first - 1] if first else 0
    weight = ends[first] - start
    point = int(uniform() * (ends[-1] - weight))
    return first, bisect_right(ends, point if point < start else point + weight)


class RandomTwo:
    by_load = True

    def __init__(self, loads: Loads, uniform: Uniform) -> None:
        self._loads = loads
        self._uniform = uniform

    def prepare(self, instances: Sequence[Instance]) -> Chooser:
        among = tuple(instances)
        if len(among) == 1:
            return lambda exchange: among[0]
        weights = [instance.weight for instance in among]
        reads = [self._loads.read_in_flight([instance.key]) for instance in among]
        if len(set(weights)) == 1:
            draw = partial(equal_pair, len(among), self._uniform)
        else:
            draw = partial(weighted_pair, list(accumulate(weights)), self._uniform)

        def choose(exchange: Exchange) -> Instance:
            one, other = draw()
            if exchange.tried:
                one, other = untried(one, other, exchange.tried)
            (mine,), (its,) = reads[one](), reads[other]()
            return among[other if its * weights[one] < mine * weights[other] else one]

        def untried(one: int, other: int, tried: Sequence[str]) -> tuple[int, int]:
            for _ in range(_DRAWS):
                left = [place for place in (one, other) if among[place].key not in tried]
                if left:
                    return left[0], left[-1]
                one, other = draw()
            return one, other

        return choose


def build(settings: Service, *, loads: Loads, uniform: Uniform | None = None, **deps: object) -> Balancer:
    """uniform: the source of chance; a generator of its own, seeded by the system, when there is none."""
    return RandomTwo(loads, uniform or random.Random().random)  # noqa: S311 - nothing is secret here
