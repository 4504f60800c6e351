"""The least of several scores, in turn where several are the least. Shared by the balancers that count.

A score is a count per unit of weight. Comparing floats is exact here: equal fractions of whole numbers give the same
float, and different ones, of numbers as small as these, differ by far more than its last digit.

Ties. When all instances tie, as those of an idle service do, the turn is that of weighted round robin. When some tie,
and others at each pick, they cannot take turns by a remainder: it would resonate with what makes them tie (two that tie
at every second number of the cursor would always give the same one). They share a line, each as long as its weight, and
number n of the cursor is the point at n times the golden section of the line: evenly spread over any stretch, by the
three-distance theorem (Sós 1958).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from math import inf
from operator import truediv

from gateway.state.registry import Instance

from . import Cursor
from .weighted_round_robin import Turns

_GOLDEN = 0x9E3779B97F4A7C15  # 2^64 over the golden ratio, odd (Knuth, TAOCP 3, 6.4)
_WORD = 2**64 - 1


class Least:
    """Of these instances. Immutable, but for what the cursor counts."""

    def __init__(self, instances: Sequence[Instance], cursor: Cursor) -> None:
        self._weights = [instance.weight for instance in instances]
        self._equal = len(set(self._weights)) == 1
        self._places = {instance.key: place for place, instance in enumerate(instances)}
        self._at = Turns(self._weights).at
        self._cursor = cursor

    def place(self, counts: list[float], tried: Sequence[str]) -> int:
        """The place of the instance with the least count per weight. counts: in order; they are used up.

        tried: keys of instances that are taken only when there is no other.
        """
        for key in tried:
            tried_place = self._places.get(key)
            if tried_place is not None:
                counts[tried_place] = inf
        scores = counts if self._equal else list(map(truediv, counts, self._weights))
        least = min(scores)
        ties = scores.count(least)
        if ties == 1:
            return scores.index(least)
        if ties == len(scores):
            return self._at(self._cursor())
        tied = [place for place, score in enumerate(scores) if score == least]
        return self._in_turn(tied, self._cursor())

    def _in_turn(self, tied: list[int], n: int) -> int:
        point = n * _GOLDEN & _WORD
        if self._equal:
            return tied[point * len(tied) >> 64]
        ends = list(accumulate(self._weights[place] for place in tied))
        return tied[bisect_right(ends, point * ends[-1] >> 64)]
