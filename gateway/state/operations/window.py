"""Sliding window: at most `limit` in the last `window` seconds, estimated from two counts.

Theory. Two fixed windows are counted, the present one and the one before; they begin with a key's first hit. The hits
of the last `window` seconds are taken to be the present count plus the share of the previous count by which the
sliding window still overlaps it, as if those hits had come evenly (Cloudflare, "How we built rate limiting capable of
scaling to millions of domains", 2017: 0.003 % of decisions wrong). A refused request is not counted.

Error. Exact when the previous window's hits came evenly. When they all came at its end, up to twice the limit can pass
within one window; never more, and over many windows never more than the limit per window on average. When they all
came at its beginning, a client waits up to a window longer than it would have to.

Rescaling. Counts are facts and stay when the limit changes. When the window gets shorter they shrink with it, when it
gets longer they stay: nothing more is known.
"""

from __future__ import annotations

import math
import struct

from gateway.state.operations import Allowance, Decision, Operation, State

LAYOUT = struct.Struct("=4d")  # the present window's begin (monotonic seconds), its count, the previous count, seconds
INITIAL = (0.0, 0.0, 0.0, 0.0)  # no window yet
_SLACK = 1e-6  # hits; who comes back after exactly `retry_after` is not refused for a rounding error


def _hit(state: State, now: float, limit: float, window: float, cost: float = 1.0) -> Decision[Allowance]:
    begin, count, previous, length = state
    elapsed = now - begin
    if length <= 0 or elapsed >= 2 * length:
        begin, count, previous, length, elapsed = now, 0.0, 0.0, window, 0.0
    elif elapsed >= length:
        begin, count, previous, elapsed = begin + length, 0.0, count, elapsed - length
    changed = length != window
    if changed:
        count = (count + previous * (1 - elapsed / length)) * min(1.0, window / length)
        begin, previous, length, elapsed = now, 0.0, window, 0.0
    used = count + previous * (1 - elapsed / window)
    if used + cost > limit + _SLACK:
        wait = _wait(elapsed, count, previous, limit - cost, window)
        refused = Allowance(False, max(0.0, limit - used), wait, _until_unused(elapsed, count, previous, window))
        # Written only for a new window: from here on the counts age by that one.
        return Decision((begin, count, previous, length) if changed else None, refused)
    count += cost
    allowed = Allowance(True, max(0.0, limit - used - cost), 0.0, _until_unused(elapsed, count, previous, window))
    return Decision((begin, count, previous, length), allowed)


def _wait(elapsed: float, count: float, previous: float, room: float, window: float) -> float:
    """Seconds until the estimate has come down to `room`."""
    if room < 0:
        return math.inf
    if count <= room:  # while this window lasts, as the previous one is left behind
        return max(0.0, window * (1 - (room - count) / previous) - elapsed)
    return window - elapsed + window * (1 - room / count)


def _until_unused(elapsed: float, count: float, previous: float, window: float) -> float:
    if count:
        return 2 * window - elapsed
    return window - elapsed if previous else 0.0


def _lifetime(state: State) -> float:
    return 2.0 * float(state[3])  # afterwards neither count plays a part


# hit(limit, window, cost=1.0): limit in hits per window, window in seconds, both above 0.
HIT: Operation[Allowance] = Operation("window.hit", LAYOUT, INITIAL, _hit, _lifetime)
