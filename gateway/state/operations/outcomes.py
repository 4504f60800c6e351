"""Outcomes of calls within a sliding window: how many there were, how many failed, how many were slow.

Theory. A share of failed or slow calls needs the number of all calls, so a number is kept for each tenth of the window
and moved on with the time (the time-based window of resilience4j: partial aggregations by epoch). A call counts until
its tenth is a window old: for 0.9 to 1.0 of a window after it ended. Within that, counts are exact over all workers.

Generation. The counts belong to one closed phase of a breaker (`breaker.py`). Outcomes of an earlier generation are
dropped, the first one of a later generation begins anew. So does another window: the old tenths do not fit it.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from . import Decision, Operation, State

BUCKETS = 10
_COUNTS = 3 * BUCKETS

# Generation, seconds of a bucket, number of the newest bucket; calls, failures and slow calls of each, newest first.
LAYOUT = struct.Struct(f"=qdq{_COUNTS}q")
_NONE = (0,) * _COUNTS
INITIAL = (0, 0.0, 0, *_NONE)


class Counts(NamedTuple):
    """counted: False when the outcome belonged to an earlier generation and was dropped."""

    calls: int
    failures: int
    slow: int
    counted: bool = True


NOTHING = Counts(0, 0, 0, False)


def add(state: State, now: float, generation: int, bucket: float, failed: bool, slow: bool) -> Decision[Counts]:  # noqa: PLR0917
    """Count one call, and tell all that count at present. bucket: seconds, a tenth of the window."""
    current, width, newest, *counts = state
    if generation < current:
        return Decision(None, NOTHING)
    number = int(now / bucket)
    if generation > current or bucket != width:
        newest, counts = number, list(_NONE)
    elif number > newest:
        passed = 3 * min(number - newest, BUCKETS)
        newest, counts = number, [*_NONE[:passed], *counts[: _COUNTS - passed]]
    # A time before the newest bucket's is that of a call that was overtaken while it was written; it counts there.
    counts[0] += 1
    counts[1] += failed
    counts[2] += slow
    told = Counts(sum(counts[::3]), sum(counts[1::3]), sum(counts[2::3]))
    return Decision((generation, bucket, newest, *counts), told)


def _lifetime(state: State) -> float:
    return BUCKETS * float(state[1])  # afterwards none of it counts


# add(generation, bucket, failed, slow)
ADD: Operation[Counts] = Operation("outcomes.add", LAYOUT, INITIAL, add, _lifetime)
