"""Sequence: 0, 1, 2, … — each number once, whichever thread or worker asks. The cursor of a balancer.

A sequence that nobody asked for a day begins again at 0.
"""

from __future__ import annotations

import struct

from gateway.state.operations import Decision, Operation, State

LAYOUT = struct.Struct("=q")
INITIAL = (0,)
_LIFETIME = 86_400.0  # seconds; what belonged to a service that is gone disappears then


def _next(state: State, now: float) -> Decision[int]:
    number = state[0]
    return Decision((number + 1,), number)


def _lifetime(state: State) -> float:
    return _LIFETIME


NEXT: Operation[int] = Operation("sequence.next", LAYOUT, INITIAL, _next, _lifetime)
