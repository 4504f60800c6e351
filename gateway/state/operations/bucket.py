"""Token bucket: a steady rate with bursts.

Theory. A bucket holds at most `burst` tokens and gains `rate` a second; a request takes `cost` of them or is refused
and takes none. In any t seconds at most burst + rate * t pass. Tokens are not added by a timer: the record says how
many there were when, and the rest is arithmetic (the virtual scheduling form of the same thing is the GCRA of ITU-T
I.371). A full bucket is the same as none, so the record is forgotten once it would be full.

Rescaling. The record carries the rule it was counted under. Under another rule the bucket is first brought up to now
by the old one, then the same share of it is full: who had used 80 % of the old burst has used 80 % of the new one.
"""

from __future__ import annotations

import math
import struct

from gateway.state.operations import Allowance, Decision, Operation, State

LAYOUT = struct.Struct("=4d")  # tokens, as of (monotonic seconds), rate (per second), burst
INITIAL = (0.0, 0.0, 0.0, 0.0)  # no rule yet: full
_SLACK = 1e-6  # tokens; who comes back after exactly `retry_after` is not refused for a rounding error


def _take(state: State, now: float, rate: float, burst: float, cost: float = 1.0) -> Decision[Allowance]:
    tokens, since, known_rate, known_burst = state
    known = known_burst > 0
    if known:
        tokens = min(known_burst, tokens + max(0.0, now - since) * known_rate)
        changed = rate != known_rate or burst != known_burst
        if changed:
            tokens *= burst / known_burst
    else:
        tokens, changed = burst, False
    if tokens + _SLACK < cost:
        retry_after = (cost - tokens) / rate if cost <= burst else math.inf
        refused = Allowance(False, max(0.0, tokens), retry_after, (burst - tokens) / rate)
        # Written only for a new rule: from here on the bucket fills by that one.
        return Decision((tokens, now, rate, burst) if changed else None, refused)
    tokens -= cost
    return Decision((tokens, now, rate, burst), Allowance(True, max(0.0, tokens), 0.0, (burst - tokens) / rate))


def _until_full(state: State) -> float:
    tokens, _, rate, burst = state
    return float((burst - tokens) / rate)


# take(rate, burst, cost=1.0): rate in tokens a second, rate and burst above 0.
TAKE: Operation[Allowance] = Operation("bucket.take", LAYOUT, INITIAL, _take, _until_full)
