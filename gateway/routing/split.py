"""Shares of the requests to several services: exact, not on average.

Request number n of a route goes where (n × stride mod W) falls among the weights laid end to end, W being their sum
divided by their greatest common divisor. The stride has no divisor in common with W, so each run of W requests holds
each service exactly as often as its weight says, whichever worker serves which; it is the one nearest to W over the
golden ratio, which spreads a service's turns evenly (Steinhaus's three-distance theorem).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate, count
from math import gcd, sqrt

from ..config.model import Split as Share

NextInSequence = Callable[[str], int]
"""The next of 0, 1, 2 … for a key, over all workers."""


class Split:
    """Chooses a service per call. Without a shared sequence it counts for itself (one process, tests)."""

    __slots__ = ("_bounds", "_key", "_next", "_services", "_stride", "_total")

    def __init__(self, key: str, shares: Sequence[Share], next_in_sequence: NextInSequence | None = None) -> None:
        used = [share for share in shares if share.weight]
        if not used:
            raise ValueError("every weight is 0")
        divisor = gcd(*(share.weight for share in used))
        self._services = tuple(share.service for share in used)
        self._bounds = tuple(accumulate(share.weight // divisor for share in used))
        self._total = self._bounds[-1]
        self._stride = _stride(self._total)
        self._key = key
        self._next = next_in_sequence or _local()

    def __call__(self) -> str:
        place = self._next(self._key) * self._stride % self._total
        return self._services[bisect_right(self._bounds, place)]


def _stride(total: int) -> int:
    ideal = round(total * (sqrt(5) - 1) / 2)
    away = next(away for away in range(total + 1) if gcd(ideal + away, total) == 1 or gcd(ideal - away, total) == 1)
    return ideal + away if gcd(ideal + away, total) == 1 else ideal - away


def _local() -> NextInSequence:
    numbers = count()  # next() of it is atomic
    return lambda key: next(numbers)
