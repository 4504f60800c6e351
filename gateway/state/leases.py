"""Who holds the probes of half-open breakers, so that a dead worker's are free before their deadline.

A lease in the record has no owner. But each worker counts the probes that it has under way in a held counter, of which
a dead worker's part is gone within a second. A worker counts before it asks for a lease and after it has given it back,
so while all live the count is never less than the leases; what it is less by is held by nobody.
"""

from __future__ import annotations

from gateway.errors import StoreFull

from .engines import Engine, Record
from .operations import breaker as machine


class Leases:
    """Of all instances of the node."""

    def __init__(self, engine: Engine) -> None:
        self._counters = engine.counters("probes", held=True)

    def hold(self, key: str) -> int | None:
        """Count a probe of the instance with this key; what to give to `let_go`. None: there is no room to count it."""
        try:
            column = self._counters.column(key)
        except StoreFull:
            return None
        self._counters.row[column] += 1
        return column

    def let_go(self, column: int | None) -> None:
        if column is not None:
            self._counters.row[column] -= 1

    def reclaim(self, key: str, record: Record, now: float) -> bool:
        """Free the leases that nobody holds any more; whether there were any."""
        state = record.read()  # before the count: those leased later are not meant, and then the record differs
        if state[0] != machine.HALF_OPEN:
            return False
        leased = machine.leased(state, now)
        try:
            held = self._counters.total(self._counters.column(key))
        except StoreFull:
            return False
        return held < leased and record.apply(machine.RECLAIM, state, leased - held)

    def forget(self, key: str) -> None:
        """Of an instance that is gone."""
        self._counters.release(key)
