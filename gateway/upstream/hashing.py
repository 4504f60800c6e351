"""A ring for consistent hashing, with weights, that looks up in the same time whatever it holds.

Each member owns points on a circle of 2^64, a key belongs to the owner of the point that comes next (Karger et al.,
STOC 1997). A member that leaves gives its keys to others, one that joins takes keys for itself: no key moves between
members that stay.

With one look-up a key, even shares need thousands of points a member. So a key has several probes and belongs to the
point that is the nearest to one of them (multi-probe consistent hashing: Appleton and O'Reilly 2015), which keeps the
property above. With P points a member and K probes a share's relative standard deviation is about
1 / sqrt(P · (2K - 1)): 3.3 % for 128 and 4.

Points. A member of weight w has w · 128, the first ones of one endless sequence that its identity alone determines
(SHAKE128): weight 2 keeps the points of weight 1. So a changed weight moves only the keys that it must, the order of
members means nothing, and every process, now and later, comes to the same ring.

Scale. More than 262,144 points (weights that add up to more than 1,024) would cost more memory and time than they are
worth. Beyond that all members have half, a quarter … of their points, and at least one. The scale follows from the
weights alone, so that all agree. Where the sum crosses such a bound, keys move between members that stay, once.

Look-ups. Points are evenly spread, so the circle is cut into arcs of 64 points or so, and only the arc of the probe is
searched: six steps, whatever the ring holds.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from hashlib import blake2b, shake_128
from itertools import repeat
from struct import Struct, unpack
from typing import Any

POINTS = 256  # of a member, for each unit of its weight
PROBES = 4
MAX_POINTS = 2**18
_FEW = 512  # points: so many are put into place one by one in less time than sorting all anew takes

_ARC_BITS = 6  # of the number of points in an arc

_CIRCLE = 2**64
_WORD = _CIRCLE - 1
_probes = Struct(f"<{PROBES}Q").unpack

Probes = tuple[int, ...]


def probes_of(key: str) -> Probes:
    """Where on the circle a key is looked for. The text may hold anything, lone surrogates, too."""
    return _probes(blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8 * PROBES).digest())


def scale_of(weights: Mapping[str, int]) -> int:
    """By how much points are fewer than weights would have it: a power of two."""
    total, scale = sum(weights.values()) * POINTS, 1
    while total > MAX_POINTS * scale:
        scale *= 2
    return scale


class Ring:
    """Members by identity, with their weights. Immutable. places: of each member, which is what look-ups answer."""

    __slots__ = ("_arcs", "_owners", "_points", "_scale", "_shift", "_weights", "places")

    def __init__(self, weights: Mapping[str, int]) -> None:
        self._weights = dict(weights)
        self._scale = scale_of(weights)
        self.places = {identity: place for place, identity in enumerate(weights)}
        owner: dict[int, int] = {}  # two members at one point: once in a billion rings of a thousand
        for identity, weight in weights.items():
            owner.update(zip(_points_of(identity, weight, self._scale), repeat(self.places[identity]), strict=False))
        points = sorted(owner)
        self._points = array("Q", points)
        self._owners = array("I", map(owner.__getitem__, points))
        self._cut()

    def over(self, weights: Mapping[str, int]) -> Ring:
        """A ring that serves these members, with as little work as can be.

        A ring serves fewer members than it has as well: look-ups pass over the points of others. So one that was left,
        perhaps for a moment, keeps its points until the points that are passed over are the majority.
        """
        scale = scale_of(weights)
        if scale != self._scale or any(self._weights.get(one, weight) != weight for one, weight in weights.items()):
            return Ring(weights)
        served = sum(_count(weight, scale) for weight in weights.values())
        joining = {one: weight for one, weight in weights.items() if one not in self._weights}
        extra = sum(_count(weight, scale) for weight in joining.values())
        if 2 * served < len(self._points) + extra or extra > _FEW:
            return Ring(weights)
        return self._with(joining) if joining else self

    def nearest(self, probes: Probes) -> int:
        """The place of the member to which a key with these probes belongs, if all are served."""
        points, arcs, shift, count = self._points, self._arcs, self._shift, len(self._points)
        best, found = _CIRCLE, 0
        for probe in probes:
            arc = probe >> shift
            at = bisect_left(points, probe, arcs[arc], arcs[arc + 1])
            if at == count:
                at = 0
            distance = (points[at] - probe) & _WORD
            if distance < best:
                best, found = distance, at
        return self._owners[found]

    def nearest_of(self, probes: Probes, served: Sequence[Any]) -> int:
        """The same, passing over members whose entry in `served`, by place, is None or False; one is not at least."""
        points, owners, count = self._points, self._owners, len(self._points)
        best, found = _CIRCLE, 0
        for probe in probes:
            at = bisect_left(points, probe)
            for step in range(at, at + count):
                at = step if step < count else step - count
                distance = (points[at] - probe) & _WORD
                if distance >= best:
                    break
                if served[owners[at]]:
                    best, found = distance, owners[at]
                    break
        return found

    def _cut(self) -> None:
        """Arcs: where the points of each begin, and where those of the last end."""
        bits = max(0, len(self._points).bit_length() - _ARC_BITS)
        self._shift = 64 - bits
        self._arcs = [bisect_left(self._points, arc << self._shift) for arc in range(1 << bits)] + [len(self._points)]

    def _with(self, joining: Mapping[str, int]) -> Ring:
        ring = Ring.__new__(Ring)
        ring._scale = self._scale
        ring._weights = {**self._weights, **joining}
        ring.places = {identity: place for place, identity in enumerate(ring._weights)}
        points, owners = ring._points, ring._owners = self._points[:], self._owners[:]
        for identity, weight in joining.items():
            for point in _points_of(identity, weight, self._scale):
                at = bisect_left(points, point)
                points.insert(at, point)
                owners.insert(at, ring.places[identity])
        ring._cut()
        return ring

    def __repr__(self) -> str:
        return f"Ring({len(self.places)} members, {len(self._points)} points)"


def _count(weight: int, scale: int) -> int:
    return max(1, weight * POINTS // scale)


def _points_of(identity: str, weight: int, scale: int) -> tuple[int, ...]:
    count = _count(weight, scale)
    return unpack(f"<{count}Q", shake_128(identity.encode()).digest(8 * count))
