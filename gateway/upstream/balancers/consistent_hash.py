"""The same instance for the same key: by client, header, cookie, parameter, path or principal; see `hashing` for how.

An instance is known to the ring by its service and id, not by its address: one that moves keeps its keys.

A request that has neither the key nor the fallback's is hashed by its number in the service's order, so that such
requests are spread by the weights.

Bounded load (Mirrokni, Thorup, Zadimoghaddam, SODA 2018): with a factor c no instance gets a request that would bring
it beyond ceil(c · m · w / W), where m are the requests in flight to all that may be picked, this one included, w is its
weight and W the sum of theirs. A key whose instance is full goes to the next one of its ring that is not, which is the
same one each time. The bounds add up to at least m, so somebody always has room. Requests that are picked at the same
moment do not see each other. An idle instance is never full: only where the key's own one is busy are the counts of all
read, and then a pick costs as much as there are instances.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from gateway.config.model import Hash, Service
from gateway.exchange import Exchange
from gateway.state.registry import Instance
from gateway.upstream.hashing import Probes, Ring, probes_of
from gateway.upstream.keys import Key, key_of, with_fallback

from . import Balancer, Chooser, Cursor, Loads

_DEFAULT = Hash(key="client_ip")  # a route may name this balancer where its service has no `hash`


class ConsistentHash:
    by_load = False

    def __init__(self, settings: Hash, cursor: Cursor, loads: Loads) -> None:
        key = key_of(settings.key)
        self._key: Key = key if settings.fallback is None else with_fallback(key, key_of(settings.fallback))
        self._factor = settings.bounded_load
        self._cursor = cursor
        self._loads = loads
        self._ring: Ring | None = None  # of the set prepared last; changed in `prepare` alone

    def prepare(self, instances: Sequence[Instance]) -> Chooser:
        if len(instances) == 1:
            only = instances[0]
            return lambda exchange: only
        weights = {_identity(instance): instance.weight for instance in instances}
        ring = self._ring = Ring(weights) if self._ring is None else self._ring.over(weights)
        owners: list[Instance | None] = [None] * len(ring.places)
        for instance in instances:
            owners[ring.places[_identity(instance)]] = instance
        bounds = None if self._factor is None else Bounds(instances, self._factor, self._loads)
        key, cursor, nearest = self._key, self._cursor, ring.nearest

        def choose(exchange: Exchange) -> Instance:
            text = key(exchange)
            probes = probes_of(str(cursor()) if text is None else text)
            instance = owners[nearest(probes)] or owners[ring.nearest_of(probes, owners)]
            if instance is None or exchange.tried or (bounds is not None and not bounds.has_room(instance)):
                return farther(probes, exchange.tried)
            return instance

        def farther(probes: Probes, tried: Sequence[str]) -> Instance:
            full: frozenset[str] = frozenset() if bounds is None else bounds.full()
            with_room = [owner if owner is not None and owner.key not in full else None for owner in owners]
            untried = [owner if owner is not None and owner.key not in tried else None for owner in with_room]
            among = next(some for some in (untried, with_room, owners) if any(some))
            found = among[ring.nearest_of(probes, among)]
            return instances[0] if found is None else found  # it never is: one of them is served

        return choose


class Bounds:
    """How many requests each of these instances may have in flight: `factor` times its share."""

    def __init__(self, instances: Sequence[Instance], factor: float, loads: Loads) -> None:
        exact = Fraction(factor).limit_denominator(1_000_000)  # 1.1 as it was written, not the float next to it
        self._of_all, self._of_one = exact.numerator, exact.denominator * sum(one.weight for one in instances)
        self._instances = instances
        self._read = loads.read_in_flight([one.key for one in instances])
        self._read_one = {one.key: loads.read_in_flight([one.key]) for one in instances}

    def has_room(self, instance: Instance) -> bool:
        """Whether one request more is within its bound. With none in flight it is within any, so no other is read."""
        (count,) = self._read_one[instance.key]()
        return not count or count * self._of_one < self._of_all * (sum(self._read()) + 1) * instance.weight

    def full(self) -> frozenset[str]:
        """Keys of the instances that one request more would bring beyond their bound: n + 1 > ceil(x), so n >= x."""
        counts = self._read()
        most = self._of_all * (sum(counts) + 1)
        return frozenset(
            one.key
            for one, count in zip(self._instances, counts, strict=True)
            if count * self._of_one >= most * one.weight
        )


def _identity(instance: Instance) -> str:
    return f"{instance.service}/{instance.id}"


def build(settings: Service, *, cursor: Cursor, loads: Loads, **deps: object) -> Balancer:
    return ConsistentHash(settings.hash or _DEFAULT, cursor, loads)
