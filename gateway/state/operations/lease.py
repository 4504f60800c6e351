"""Leases: at most `limit` holders at a time, each until a deadline unless it renews.

Theory. A lease is a right that ends by itself (Gray and Cheriton, "Leases", SOSP 1989), so a holder that dies keeps
nobody out for longer than its `ttl`. Each lease has a token that no other lease of the record ever has and that is
greater than all before it (a fencing token): what a holder does late, after its lease ended and another one got its
place, is recognised by the token and refused.

Tokens are microseconds of monotonic time, or one more than the last; so they also grow when a record was forgotten or
dropped in between.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from gateway.state.operations import Decision, Operation, State

PLACES = 16  # leases at a time, whatever `limit` says

LAYOUT = struct.Struct("=qd" + PLACES * "qd")  # last token, time of the last change; per place token, deadline
INITIAL = (0, 0.0, *PLACES * (0, 0.0))
_MEMORY = 1.0  # seconds for which the last token is kept after the last lease; from then on the clock is ahead of it


class Grant(NamedTuple):
    """token: greater than 0 when granted, 0 when not. retry_after: seconds until the first of the present ones ends."""

    token: int
    retry_after: float


def _acquire(state: State, now: float, ttl: float, limit: int = 1) -> Decision[Grant]:
    last, _, *places = state
    deadlines = places[1::2]
    live = [deadline for deadline in deadlines if deadline > now]
    if len(live) >= min(limit, PLACES):
        return Decision(None, Grant(0, min(live, default=now) - now))
    token = max(last + 1, int(now * 1e6))
    free = next(place for place, deadline in enumerate(deadlines) if deadline <= now)
    places[2 * free : 2 * free + 2] = token, now + ttl
    return Decision((token, now, *places), Grant(token, 0.0))


def _renew(state: State, now: float, token: int, ttl: float) -> Decision[bool]:
    last, _, *places = state
    held = _held(places, now, token)
    if held < 0:
        return Decision(None, False)
    places[held + 1] = now + ttl
    return Decision((last, now, *places), True)


def _release(state: State, now: float, token: int) -> Decision[bool]:
    last, _, *places = state
    held = _held(places, now, token)
    if held < 0:
        return Decision(None, False)
    places[held : held + 2] = 0, 0.0
    return Decision((last, now, *places), True)


def _held(places: list[float], now: float, token: int) -> int:
    """Where the token is, -1 when its lease has ended."""
    for at in range(0, len(places), 2):
        if places[at] == token and places[at + 1] > now:
            return at
    return -1


def _lifetime(state: State) -> float:
    _, changed, *places = state
    return float(max(0.0, max(places[1::2]) - changed)) + _MEMORY


# acquire(ttl, limit=1), renew(token, ttl), release(token): ttl in seconds. The latter two: whether the lease was held.
ACQUIRE: Operation[Grant] = Operation("lease.acquire", LAYOUT, INITIAL, _acquire, _lifetime)
RENEW: Operation[bool] = Operation("lease.renew", LAYOUT, INITIAL, _renew, _lifetime)
RELEASE: Operation[bool] = Operation("lease.release", LAYOUT, INITIAL, _release, _lifetime)
