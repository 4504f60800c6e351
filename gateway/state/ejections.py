"""At most a share of a service's instances may be open at once: where most of them fail, some failing requests are
better than a crowd on the rest (Envoy's `max_ejection_percent`).

Exact over all workers: openings of one service are serialised by a short lease, under which the open and half-open
breakers of the service are counted. A worker that dies or stands still with the lease delays the others' openings by
its ttl; what is not opened now is tried again with the next failure. Exact as long as nobody stands still for the ttl
between counting and opening.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from .engines import Engine, Version
from .operations import lease
from .operations.breaker import ALLOW, EJECTED, TOPIC

TTL = 1.0  # seconds
TRIES, PAUSE = 10, 0.001  # for the lease; whoever holds it is done within microseconds
_MOST_KEPT = 1024
_SLACK = 1e-9  # instances; 29 % of 100 are 29

Result = TypeVar("Result")


class Ejections:
    """peers: the keys of a service's instances. pause: waits so many seconds."""

    def __init__(
        self, engine: Engine, peers: Callable[[str], Sequence[str]], pause: Callable[[float], object] = time.sleep
    ) -> None:
        self._engine = engine
        self._peers = peers
        self._pause = pause
        # Services without room -> what that was found for. Entries are replaced whole: each thread may write.
        self._full: dict[str, tuple[Version, int, float]] = {}

    def open(self, service: str, share: float, trip: Callable[[], Result]) -> Result | None:
        """Call `trip` when one more instance may be open: its result. None: not now.

        At most max(1, share of the instances, rounded down) may be open or half open. Raises errors.StoreFull.
        """
        if not self._has_room(service, share):
            return None
        record = self._engine.record(lease.ACQUIRE, f"trip/{service}")
        for _ in range(TRIES):
            token = record.apply(lease.ACQUIRE, TTL).token
            if token:
                break
            self._pause(PAUSE)
        else:
            return None
        try:
            return trip() if self._has_room(service, share) else None
        finally:
            record.apply(lease.RELEASE, token)

    def _has_room(self, service: str, share: float) -> bool:
        engine, keys = self._engine, self._peers(service)
        # Each transition changes the version: while it stands, what was counted is so.
        found = (engine.version(TOPIC), len(keys), share)
        if self._full.get(service) == found:
            return False
        bound = max(1, math.floor(share * len(keys) + _SLACK))
        ejected = 0
        for key in keys:
            ejected += engine.record(ALLOW, key).read()[0] in EJECTED
            if ejected >= bound:
                if len(self._full) >= _MOST_KEPT:
                    self._full = {}
                self._full[service] = found
                return False
        return True
