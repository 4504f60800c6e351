"""What each instance is doing: requests in flight now and requests so far, summed over all workers of the node.

Counted by adding to the cells of this worker's rows, `in_flight[column] += 1`, without a lock (see `engines.Counters`).
A dead worker's requests in flight are gone with it; requests so far stay.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from .engines import Engine


class Columns(NamedTuple):
    """Where an instance is counted: its column in `InFlight.in_flight` and in `InFlight.requests`."""

    in_flight: int
    requests: int


class InFlight:
    """in_flight, requests: this worker's rows; add to the cell of the column that `columns` tells."""

    def __init__(self, engine: Engine) -> None:
        self._held = engine.counters("in_flight", held=True)
        self._kept = engine.counters("requests", held=False)
        self.in_flight = self._held.row
        self.requests = self._kept.row

    def columns(self, key: str) -> Columns:
        """Where the instance with this key is counted; keep it. Raises errors.StoreFull when there is no room."""
        return Columns(self._held.column(key), self._kept.column(key))

    def in_flight_of(self, key: str) -> int:
        """Requests in flight to the instance with this key, over all living workers."""
        return self._held.total(self._held.column(key))

    def requests_of(self, key: str) -> int:
        """Requests sent to the instance with this key, over all workers, since the gateway started."""
        return self._kept.total(self._kept.column(key))

    def read_in_flight(self, keys: Sequence[str]) -> Callable[[], list[int]]:
        """What tells the requests in flight to each of these instances, in their order, whenever it is called.

        Good while the instances are there: a balancer asks for it when its eligible set is made."""
        columns = [self._held.column(key) for key in keys]
        return lambda: self._held.totals(columns)

    def read_requests(self, keys: Sequence[str]) -> Callable[[], list[int]]:
        """The same for requests so far."""
        columns = [self._kept.column(key) for key in keys]
        return lambda: self._kept.totals(columns)

    def forget(self, key: str) -> None:
        """Give back the columns of an instance that is gone."""
        self._held.release(key)
        self._kept.release(key)
