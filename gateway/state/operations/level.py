"""A level that is only ever raised: where an instance that came late began to be counted.

Balancing by the fewest requests would flood an instance that was away: it has the fewest by far. So its count starts
from the least of the others (nginx does the same with its weights, and start-time fair queueing with its virtual time:
Goyal et al., SIGCOMM 1996). What is added to its own count is kept here, once for the node; whoever comes with a lower
one later changes nothing.

A level that was never set tells an instance that nobody has met.
"""

from __future__ import annotations

import math
import struct

from gateway.state.operations import Decision, Operation, State

LAYOUT = struct.Struct("=qd")  # 1 when it was set; the level, requests
INITIAL = (0, 0.0)
_LIFETIME = math.inf  # dropped with its instance


def _lift(state: State, now: float, level: float) -> Decision[float]:
    known, current = state
    if known and level <= current:
        return Decision(None, float(current))
    return Decision((1, level), level)


def _lifetime(state: State) -> float:
    return _LIFETIME


# lift(level): the level in force afterwards.
LIFT: Operation[float] = Operation("level.lift", LAYOUT, INITIAL, _lift, _lifetime)
