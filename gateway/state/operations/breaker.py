"""The circuit breaker of one instance, as two decisions over one record: may a request go, and how did it end.

Theory. A breaker (Nygard, "Release It!", 5.2) keeps requests away from an instance that fails, and finds out by itself
when to come back. Closed, everything goes and consecutive failures are counted. Open, nothing goes for a while. Half
open, a few requests go as probes, and what becomes of them decides.

    phase      what happens                           becomes     generation
    ---------  -------------------------------------  ----------  ----------
    closed     success                                closed, 0 failures
    closed     failure, count < `failures`            closed, count + 1
    closed     failure, count >= `failures`           open             + 1
    open       asked before opened_at + open_for      open (refused)
    open       asked from opened_at + open_for on     half open        + 1   (this request is the first probe)
    half open  asked, fewer than `probes` leased      half open (a probe is leased)
    half open  asked, otherwise                       half open (refused)
    half open  success, count < `probes`              half open, count + 1
    half open  success, count >= `probes`             closed           + 1
    half open  failure                                open             + 1
    any        outcome of another generation          unchanged (dropped)

Generation. Each permit carries the generation it was given in, and each transition begins another. An outcome that
arrives late, from before a transition, therefore says nothing about the present phase: a request that hung through
open and half open cannot close or open anything (as in sony/gobreaker).

Leases. A probe is a lease with a deadline. A worker that dies with a probe in flight never reports; its place is free
again at the deadline. A probe that outlives its lease still counts when it reports within its generation: what it saw
is true, only its place has been given on.

Times are the engine's monotonic seconds. Settings are arguments and not part of the record, so a reload that changes
them applies to the state that is kept: a shorter `open_for` ends a phase that has begun under a longer one.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from . import Decision, Operation, State

CLOSED, OPEN, HALF_OPEN = 0, 1, 2
PHASES = ("closed", "open", "half_open")

MAX_PROBES = 16  # leased at once; the configuration allows no more

# phase, generation, failures in a row, probes that succeeded; when it opened; a deadline for each lease, 0.0: free.
# A record may have 480 bytes; 320 of them are left for windows, ratios and back-off.
LAYOUT = struct.Struct(f"=4qd{MAX_PROBES}d")
_FREE = (0.0,) * MAX_PROBES
INITIAL = (CLOSED, 0, 0, 0, 0.0, *_FREE)

# The record of an instance that is gone is dropped. What that misses (an instance taken out of the configuration) lasts
# this long after its last change.
_LIFETIME = 30 * 86_400.0


class Admission(NamedTuple):
    """What `allow` answers. slot: of the leased probe, -1 when the breaker is closed. until: see below.

    until: refused, the monotonic time from which asking again makes sense (open: when it will be half open; half open:
    when the first lease ends); admitted as a probe, the lease's deadline; else 0.0.
    """

    admitted: bool
    phase: int
    generation: int
    slot: int
    until: float
    changed: bool


class Outcome(NamedTuple):
    """What `report` answers: the phase now, whether this outcome changed it, and failures in a row (or that opened it).

    counted: False when the outcome belonged to an earlier generation and was dropped.
    """

    phase: int
    changed: bool
    failures: int
    counted: bool


def allow(state: State, now: float, open_for: float, probes: int, lease: float) -> Decision[Admission]:
    """May a request go? lease: seconds after which its place as a probe is free again if nothing is heard of it."""
    phase, generation, failures, successes, opened_at, *leases = state
    if phase == CLOSED:
        return Decision(None, Admission(True, CLOSED, generation, -1, 0.0, False))
    if phase == OPEN:
        half_open_at = opened_at + open_for
        if now < half_open_at:
            return Decision(None, Admission(False, OPEN, generation, -1, half_open_at, False))
        begun = (HALF_OPEN, generation + 1, failures, 0, opened_at, now + lease, *_FREE[1:])
        return Decision(begun, Admission(True, HALF_OPEN, generation + 1, 0, now + lease, True), True)
    ends = [deadline for deadline in leases if deadline > now]
    if len(ends) >= min(probes, MAX_PROBES):
        return Decision(None, Admission(False, HALF_OPEN, generation, -1, min(ends), False))
    slot = next(at for at, deadline in enumerate(leases) if deadline <= now)
    leases[slot] = now + lease
    leased = (HALF_OPEN, generation, failures, successes, opened_at, *leases)
    return Decision(leased, Admission(True, HALF_OPEN, generation, slot, now + lease, False))


def report(  # noqa: PLR0917 - an operation's arguments are positional
    state: State, now: float, generation: int, ok: bool | None, slot: int, deadline: float, threshold: int, probes: int
) -> Decision[Outcome]:
    """How did it end? ok None: neither success nor failure (the client left); a probe's place is free again.

    generation, slot, deadline: from the admission. threshold: `failures`.
    """
    phase, current, failures, successes, opened_at, *leases = state
    if generation != current:
        return Decision(None, Outcome(phase, False, failures, False))
    if phase == CLOSED:
        if ok is None or (ok and not failures):
            return Decision(None, Outcome(CLOSED, False, failures, True))
        failures = 0 if ok else failures + 1
        if failures < threshold:
            return Decision((CLOSED, current, failures, 0, 0.0, *_FREE), Outcome(CLOSED, False, failures, True))
        return Decision((OPEN, current + 1, failures, 0, now, *_FREE), Outcome(OPEN, True, failures, True), True)
    # Half open: an open phase gives no permits, so no outcome carries its generation.
    if ok is False:
        return Decision((OPEN, current + 1, failures, 0, now, *_FREE), Outcome(OPEN, True, failures, True), True)
    if ok and successes + 1 >= probes:
        return Decision((CLOSED, current + 1, 0, 0, 0.0, *_FREE), Outcome(CLOSED, True, 0, True), True)
    if leases[slot] == deadline:  # else the lease had ended, and its place is another probe's
        leases[slot] = 0.0
    kept = (HALF_OPEN, current, failures, successes + bool(ok), opened_at, *leases)
    return Decision(kept, Outcome(HALF_OPEN, False, failures, True))


def open_until(state: State, open_for: float) -> float:
    """The monotonic time until which nothing may go, 0.0 when the breaker is not open. Read only: nothing is leased."""
    phase, _, _, _, opened_at, *_ = state
    return float(opened_at) + open_for if phase == OPEN else 0.0


def _lifetime(state: State) -> float:
    return _LIFETIME


# The registry's: one version tells whether who may be picked has changed, be it an instance or its breaker.
TOPIC = "registry"
ALLOW = Operation("breaker.allow", LAYOUT, INITIAL, allow, _lifetime, TOPIC)
REPORT = Operation("breaker.report", LAYOUT, INITIAL, report, _lifetime, TOPIC)
