"""Outcomes of calls within a sliding window: how many there were, how many failed, how many were slow.

Theory. A share of failed or slow calls needs the number of all calls, so a number is kept for each tenth of the window
and moved on with the time (the time-based window of resilience4j: partial aggregations by epoch). A call counts until
its tenth is a window old: for 0.9 to 1.0 of a window after it ended. Within that, counts are exact over all workers.

Calls are counted elsewhere, in a sum over all workers that only grows and needs no lock (`state/calls.py`). The record
holds what that sum was when each tenth began, so the calls within the window are a difference; and failed and slow
calls, which are few, tenth by tenth.

Generation. The counts belong to one closed phase of a breaker (`breaker.py`). Outcomes of an earlier generation are
dropped, the first one of a later generation begins anew. So does another window: the old tenths do not fit it.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from . import Decision, Operation, State

BUCKETS = 10

# Generation, seconds of a bucket, number of the newest bucket; newest first: all calls when each bucket began, failed
# and slow calls of each.
LAYOUT = struct.Struct(f"=qdq{3 * BUCKETS}q")
_NONE = (0,) * BUCKETS
INITIAL = (0, 0.0, 0, *_NONE, *_NONE, *_NONE)


class Counts(NamedTuple):
    """counted: False when the outcome belonged to an earlier generation and was dropped."""

    calls: int
    failures: int
    slow: int
    counted: bool = True


NOTHING = Counts(0, 0, 0, False)


def add(  # noqa: PLR0917 - an operation's arguments are positional
    state: State, now: float, generation: int, bucket: float, failed: bool, slow: bool, total: int
) -> Decision[Counts]:
    """Count one call, and tell all that count at present. bucket: seconds, a tenth of the window. total: calls so far,
    without this one."""
    current, width, newest, *numbers = state
    if generation < current:
        return Decision(None, NOTHING)
    begins, failures, slows = numbers[:BUCKETS], numbers[BUCKETS : 2 * BUCKETS], numbers[2 * BUCKETS :]
    number = int(now / bucket)
    moved = True
    if generation > current or bucket != width:
        newest, begins, failures, slows = number, [total] * BUCKETS, list(_NONE), list(_NONE)
    elif number > newest:
        passed = min(number - newest, BUCKETS)
        kept = BUCKETS - passed
        newest, begins = number, [total] * passed + begins[:kept]
        failures, slows = [*_NONE[:passed], *failures[:kept]], [*_NONE[:passed], *slows[:kept]]
    else:
        moved = False
    # A time before the newest bucket's is that of a call that was overtaken while it was written; it counts there.
    failures[0] += failed
    slows[0] += slow
    told = Counts(max(0, total - begins[-1]) + 1, sum(failures), sum(slows))
    if not (moved or failed or slow):
        return Decision(None, told)
    return Decision((generation, bucket, newest, *begins, *failures, *slows), told)


def quiet_until(state: State, bucket: float) -> float:
    """The end of the newest bucket, monotonic seconds, while nothing failed or was slow within the window; else 0.0."""
    return 0.0 if any(state[3 + BUCKETS :]) or state[1] != bucket else (state[2] + 1) * bucket


def _lifetime(state: State) -> float:
    return BUCKETS * float(state[1])  # afterwards none of it counts


# add(generation, bucket, failed, slow, total)
ADD: Operation[Counts] = Operation("outcomes.add", LAYOUT, INITIAL, add, _lifetime)
