"""The instance with the fewest requests so far for its weight, over all workers of the node.

An instance that comes late, or comes back, has the fewest by far: it would get everything until it caught up. So its
count begins at a level: it is lifted to the least (requests + level) / weight among the others. That is the virtual
time at which start-time fair queueing lets a flow begin (Goyal, Vin, Cheng, SIGCOMM 1996), and what it needs: nothing
is owed to who was away, nothing is asked of who comes.

Who is a newcomer: an instance that was not in the set that this balancer prepared before, or, for a balancer that has
prepared none (a new worker), one whose level was never set. Where there is nobody to compare with, levels begin at 0.

Levels are the node's (state/operations/level.py) and only rise, so workers that meet the same newcomer one after the
other agree, and a worker that begins later takes over what was found. Each lifts a newcomer once, when it sees it come;
that a level rose makes nobody a newcomer, so preparing again changes nothing.

A level that another worker raised is noticed when it matters: before an instance is returned, its record's stamp is
compared. A stale level is too low, so an instance whose level is stale is looked at no later than it should be.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import add
from threading import Lock

from gateway.config.model import Service
from gateway.errors import StoreFull
from gateway.exchange import Exchange
from gateway.state.engines import Record
from gateway.state.operations.level import LIFT
from gateway.state.registry import Instance

from . import Balancer, Chooser, Cursor, Loads
from ._least import Least

LevelOf = Callable[[str], Record]


class LeastRequests:
    by_load = True

    def __init__(self, cursor: Cursor, loads: Loads, level: LevelOf) -> None:
        self._cursor = cursor
        self._loads = loads
        self._level = level
        self._former: frozenset[str] = frozenset()  # keys of the set prepared last

    def prepare(self, instances: Sequence[Instance]) -> Chooser:
        among = tuple(instances)
        keys = [instance.key for instance in among]
        read = self._loads.read_requests(keys)
        records = [self._level(key) for key in keys]
        levels = _Levels(records)
        self._lift_newcomers(among, read(), levels)
        self._former = frozenset(keys)
        if len(among) == 1:
            return lambda exchange: among[0]
        place = Least(among, self._cursor).place

        def choose(exchange: Exchange) -> Instance:
            while True:
                found = place(list(map(add, read(), levels.values)), exchange.tried)
                if levels.current(found):
                    return among[found]

        return choose

    def _lift_newcomers(self, among: Sequence[Instance], requests: Sequence[int], levels: _Levels) -> None:
        met = [place for place, known in enumerate(levels.known) if known]
        settled = [place for place in met if among[place].key in self._former] or met
        least = min(((requests[place] + levels.values[place]) / among[place].weight for place in settled), default=None)
        for place in set(range(len(among))).difference(settled):
            begin = 0.0 if least is None else least * among[place].weight - requests[place]
            levels.lift(place, max(0.0, begin))


class _Levels:
    """The levels of a set's instances, in order. known: whether they were set when this was made."""

    def __init__(self, records: Sequence[Record]) -> None:
        self._records = records
        self._lock = Lock()  # guards values and _stamps; reading one needs no lock
        self._stamps = [record.stamp() for record in records]  # before reading: what changes meanwhile is seen later
        states = [record.read() for record in records]
        self.known: list[bool] = [bool(known) for known, _ in states]
        self.values: list[float] = [level for _, level in states]

    def lift(self, place: int, level: float) -> None:
        """Raise the node's level, when it is lower or was never set."""
        if self.known[place] and level <= self.values[place]:
            return
        try:
            self.values[place] = self._records[place].apply(LIFT, level)
        except StoreFull:  # no room for the level: better each worker keeps its own than nobody is served
            self.values[place] = level

    def current(self, place: int) -> bool:
        """Whether the level is what the node's record says; when it is not, it is by the time this returns."""
        record = self._records[place]
        if record.stamp() == self._stamps[place]:
            return True
        with self._lock:
            self._stamps[place] = record.stamp()
            known, level = record.read()
            if not known or level <= self.values[place]:
                return True
            self.values[place] = level
            return False


def build(settings: Service, *, cursor: Cursor, loads: Loads, level: LevelOf, **deps: object) -> Balancer:
    return LeastRequests(cursor, loads, level)
