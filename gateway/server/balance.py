"""An even share of connections between the workers.

Every worker waits on the same listening sockets, and whoever comes first gets the connection. Left to that, the worker
that is idle at the moment collects the connections of a proxy that then keeps them for hours, and a worker that was
replaced gets none. Two things keep the numbers together:

- precedence: a worker that has more connections than another waits a moment before it accepts. It never refuses.
- shedding: a worker that has clearly more than its share lets some of its next answers say `Connection: close`; the
  client's next connection goes to the worker that has precedence. No request is lost by that.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

PRECEDENCE: Final = 0.004  # seconds that the others get
_STEP: Final = 0.0005  # between two looks at whether they took it
_MOST_SKIPPED: Final = 6  # as a power of two
_INTERVAL: Final = 0.5  # seconds between two sheddings
_LONGEST: Final = 60.0


class Balance:
    """The share of one worker. Used by its main thread alone.

    others(): the numbers of connections of the other workers that accept. They may be stale, or of a worker that is
    too busy to accept. So what was done in vain is done less often: a worker whose precedence nobody used accepts 1,
    3, 7, … connections without asking, and one whose shed connections came back doubles the interval.
    """

    def __init__(
        self,
        others: Callable[[], Sequence[int]],
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._others = others
        self._clock = clock
        self._sleep = sleep
        self._skip = 0  # connections to accept without asking
        self._vain = 0  # times in a row that precedence was given in vain
        self._next = 0.0  # when to shed again
        self._interval = _INTERVAL
        self._excess = 0  # at the last shedding, 0 when there was none

    def give_precedence(self, mine: int) -> None:
        """Return when it is this worker's turn to accept; at once, unless another has clearly fewer connections."""
        if self._skip:
            self._skip -= 1
            return
        if not self._ahead(mine):
            return
        now = self._clock()
        end = now + PRECEDENCE
        while now < end:
            self._sleep(_STEP)
            if not self._ahead(mine):
                self._vain = 0
                return
            now = self._clock()
        self._skip = (1 << min(self._vain, _MOST_SKIPPED)) - 1
        self._vain += 1

    def _ahead(self, mine: int) -> bool:
        least = min(self._others(), default=mine)
        return mine > least + least // 8

    def excess(self, mine: int, now: float) -> int | None:
        """How many connections to shed from now on, almost always 0; None: go on as before."""
        if now < self._next:
            return None
        others = self._others()
        share = (mine + sum(others)) / (1 + len(others))
        excess = int(mine - share) if mine > max(share * 1.1, share + 1) else 0
        if excess and excess >= self._excess > 0:  # they came back
            self._interval = min(self._interval * 2, _LONGEST)
        else:
            self._interval = _INTERVAL
        self._excess = excess
        self._next = now + self._interval
        return excess
