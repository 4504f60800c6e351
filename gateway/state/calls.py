"""The calls to one instance within a breaker's window, counted so that a good one costs next to nothing.

While nothing within the window failed or was slow, which is nearly always, a good call is one addition to a cell of
this worker's row. Everything else goes through the record: what is not good, the first call of each bucket, and every
call while something bad is within the window, because the share may be met by the call that completes the minimum.
"""

from __future__ import annotations

from collections.abc import Callable

from .engines import Counters, Record
from .operations import outcomes
from .operations.outcomes import Counts


class Calls:
    """Of one instance, for one handle. bucket: seconds, a tenth of the window. slow_over: seconds or inf."""

    __slots__ = ("_bucket", "_column", "_now", "_quiet", "_record", "_row", "_slow_over", "_stamp", "_total")

    def __init__(  # noqa: PLR0917
        self,
        record: Record,
        counters: Counters,
        column: int,
        bucket: float,
        slow_over: float,
        now: Callable[[], float],
    ) -> None:
        self._record = record
        self._stamp = record.stamp
        self._row = counters.row
        self._total = counters.total
        self._column = column
        self._bucket = bucket
        self._slow_over = slow_over
        self._now = now
        self._quiet = (-1, 0.0)  # the record's stamp while nothing bad is in it, the end of its bucket; replaced whole

    def good(self, seconds: float | None) -> bool:
        """Count a good call, if nothing but counting it is to be done; else False, and nothing is done."""
        stamp, end = self._quiet
        if stamp != self._stamp() or self._now() >= end or (seconds is not None and seconds > self._slow_over):
            return False
        self._row[self._column] += 1
        return True

    def add(self, generation: int, ok: bool, seconds: float | None) -> Counts:
        """Count any call, and tell all that count at present. Raises errors.StoreFull."""
        slow = seconds is not None and seconds > self._slow_over
        total = self._total(self._column)
        counts = self._record.apply(outcomes.ADD, generation, self._bucket, not ok, slow, total)
        if counts.counted:
            self._row[self._column] += 1
        if counts.failures or counts.slow:
            self._quiet = (-1, 0.0)
        else:
            stamp = self._stamp()  # before reading: what comes meanwhile is seen next time
            end = outcomes.quiet_until(self._record.read(), self._bucket)
            self._quiet = (stamp, end)
        return counts

    def drop(self) -> None:
        """Forget what the record says."""
        self._record.drop()
