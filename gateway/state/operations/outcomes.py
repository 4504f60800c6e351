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
_OLDER = struct.Struct(f"={3 * (BUCKETS - 1)}q")  # calls, failures and slow calls of each, newest first

# Generation, seconds of a bucket, number of the newest bucket; calls, failures and slow calls of all buckets, those of
# the newest one; the older ones, packed: a call within the newest bucket, as nearly all are, does not look at them.
LAYOUT = struct.Struct(f"=qdq6q{_OLDER.size}s")
_NOTHING_OLDER = bytes(_OLDER.size)
INITIAL = (0, 0.0, 0, *(0,) * 6, _NOTHING_OLDER)


class Counts(NamedTuple):
    """counted: False when the outcome belonged to an earlier generation and was dropped."""

    calls: int
    failures: int
    slow: int
    counted: bool = True


NOTHING = Counts(0, 0, 0, False)


def add(state: State, now: float, generation: int, bucket: float, failed: bool, slow: bool) -> Decision[Counts]:  # noqa: PLR0917
    """Count one call, and tell all that count at present. bucket: seconds, a tenth of the window."""
    current, width, newest, calls, failures, slow_calls, own_calls, own_failures, own_slow, older = state
    if generation < current:
        return Decision(None, NOTHING)
    number = int(now / bucket)
    if generation > current or bucket != width:
        newest, older = number, _NOTHING_OLDER
        calls = failures = slow_calls = own_calls = own_failures = own_slow = 0
    elif number > newest:
        older = _moved(number - newest, (own_calls, own_failures, own_slow), older)
        newest = number
        own_calls = own_failures = own_slow = 0
        counts = _OLDER.unpack(older)
        calls, failures, slow_calls = sum(counts[::3]), sum(counts[1::3]), sum(counts[2::3])
    # A time before the newest bucket's is that of a call that was overtaken while it was written; it counts there.
    calls, own_calls = calls + 1, own_calls + 1
    if failed:
        failures, own_failures = failures + 1, own_failures + 1
    if slow:
        slow_calls, own_slow = slow_calls + 1, own_slow + 1
    counted = (generation, bucket, newest, calls, failures, slow_calls, own_calls, own_failures, own_slow, older)
    return Decision(counted, Counts(calls, failures, slow_calls))


def _moved(passed: int, own: tuple[int, int, int], older: bytes) -> bytes:
    """The older buckets when so many have passed, `own` being the counts of what was the newest."""
    counts = (
        [*(0,) * (3 * (passed - 1)), *own, *_OLDER.unpack(older)] if passed < BUCKETS else (0,) * (3 * (BUCKETS - 1))
    )
    return _OLDER.pack(*counts[: 3 * (BUCKETS - 1)])


def _lifetime(state: State) -> float:
    return BUCKETS * float(state[1])  # afterwards none of it counts


# add(generation, bucket, failed, slow)
ADD: Operation[Counts] = Operation("outcomes.add", LAYOUT, INITIAL, add, _lifetime)
