"""The circuit breaker of one instance, as decisions over one record: may a request go, how did it end, what is ordered.

Theory. A breaker (Nygard, "Release It!", 5.2) keeps requests away from an instance that fails, and finds out by itself
when to come back. Closed, everything goes and failures are counted. Open, nothing goes for a while. Half open, a few
requests go as probes, and what becomes of them decides. An operator may hold it in a phase of his own.

    phase        what happens                           becomes                            generation
    -----------  -------------------------------------  ---------------------------------  ----------
    closed       success, no window                     closed, 0 failures
    closed       success, with a window                 closed
    closed       failure, count < `failures`            closed, count + 1
    closed       failure, count >= `failures`           open                                   + 1
    closed       the same, but it must not open         closed, count + 1 (and is told so)
    closed       trip (a share was reached)             open                                   + 1
    open         asked before opened_at + open phase    open (refused)
    open         asked from then on                     half open (this is the first probe)    + 1
    half open    asked, fewer than `probes` leased      half open (a probe is leased)
    half open    asked, otherwise                       half open (refused)
    half open    reclaimed                              half open (fewer are leased)
    half open    success, count < `probes`              half open, count + 1
    half open    success, count >= `probes`             closed                                 + 1
    half open    failure                                open, reopenings + 1                   + 1
    forced open  asked                                  forced open (refused)
    f. closed,   asked                                  the same (admitted)
      disabled   any outcome                            the same (dropped)
    any          force_open, force_close, disable       forced open, forced closed, disabled   + 1
    that one     the same order again                   the same
    any          reset                                  closed, everything forgotten           + 1
    any          outcome or trip of another generation  the same (dropped)

Count. Without a window failures are those in a row. With one they are those of the last `window` seconds, exactly: the
times of the last 32 are kept in the places that hold leases while half open. A failure counts until it is a window old.
Shares of failed and slow calls need all calls; those are counted in a record of their own (`outcomes.py`), and whoever
finds that a share was reached asks for a trip in the generation of the calls, so that one of several opens it.

Back-off. The open phase is min(`open_for` * 2**reopenings, `max_open_for`); reopenings are counted since it was closed.

Generation. Each permit carries the generation it was given in, and each transition begins another. An outcome that
arrives late, from before a transition, therefore says nothing about the present phase: a request that hung through
open and half open cannot close or open anything (as in sony/gobreaker).

Leases. A probe is a lease with a deadline. A worker that dies with a probe in flight never reports; its place is free
again when it is found that nobody holds it (`leases.py`), or else at the deadline. A probe that outlives its lease
still counts when it reports within its generation: what it saw is true, only its place has been given on.

Times are the engine's monotonic seconds. Settings are arguments and not part of the record, so a reload that changes
them applies to the state that is kept: a shorter `open_for` ends a phase that has begun under a longer one.
"""

from __future__ import annotations

import math
import struct
from typing import NamedTuple

from . import Decision, Operation, State

CLOSED, OPEN, HALF_OPEN, FORCED_OPEN, FORCED_CLOSED, DISABLED = range(6)
PHASES = ("closed", "open", "half_open", "forced_open", "forced_closed", "disabled")
PASSING = frozenset((CLOSED, FORCED_CLOSED, DISABLED))  # everything goes
EJECTED = frozenset((OPEN, HALF_OPEN))  # what a breaker did by itself
TARGETS = {"force_open": FORCED_OPEN, "force_close": FORCED_CLOSED, "disable": DISABLED, "reset": CLOSED}  # constant

FAILURES, FAILURE_RATIO, SLOW_CALL, PROBE_FAILED = range(1, 5)
CAUSES = ("", "failures", "failure_ratio", "slow_call", "probe_failed")  # why it is open

MAX_TIMES = 32  # failures that a window can tell apart
MAX_PROBES = MAX_TIMES  # leased at once; the configuration allows no more

# Phase, generation, failures (in a row or within the window; those that opened it), probes that succeeded, reopenings,
# cause; when it opened, when it last came back; closed: when the last failures were, newest first, half open: a
# deadline for each lease; 0.0: free.
LAYOUT = struct.Struct(f"=6q2d{MAX_TIMES}d")
_FREE = (0.0,) * MAX_TIMES
INITIAL = (CLOSED, 0, 0, 0, 0, 0, 0.0, 0.0, *_FREE)

# The record of an instance that is gone is dropped. What that misses (an instance taken out of the configuration) lasts
# this long after its last change. What an operator ordered lasts until he orders otherwise.
_LIFETIME = 30 * 86_400.0
_FORGOTTEN = 900.0  # seconds; for that long a generation is kept of which nothing else is known
_MOST_DOUBLINGS = 64


class Limits(NamedTuple):
    """Settings. window: seconds, 0.0: failures in a row. max_open_for: seconds, 0.0: the open phase does not grow."""

    failures: int
    window: float
    open_for: float
    max_open_for: float
    probes: int


class Admission(NamedTuple):
    """What `allow` answers. slot: of the leased probe, -1 when everything goes. until: see below.

    until: refused, the monotonic time from which asking again makes sense (open: when it will be half open; half open:
    when the first lease ends; forced open: inf); admitted as a probe, the lease's deadline; else 0.0.
    """

    admitted: bool
    phase: int
    generation: int
    slot: int
    until: float
    changed: bool


class Outcome(NamedTuple):
    """What `report` and `trip` answer: the phase now, whether this changed it, and the failures (that opened it).

    counted: False when it belonged to an earlier generation and was dropped. due: it should open and was not to.
    reopenings: since it was closed.
    """

    phase: int
    changed: bool
    failures: int
    counted: bool
    due: bool = False
    reopenings: int = 0


class Steered(NamedTuple):
    """What `steer` answers: the phases before and after, and whether anything was written."""

    before: int
    after: int
    changed: bool


def allow(state: State, now: float, limits: Limits, lease: float) -> Decision[Admission]:
    """May a request go? lease: seconds after which its place as a probe is free again if nothing is heard of it."""
    phase, generation, failures, successes, reopenings, cause, opened_at, closed_at, *places = state
    if phase in PASSING:
        return Decision(None, Admission(True, phase, generation, -1, 0.0, False))
    if phase != HALF_OPEN:
        half_open_at = open_until(state, limits)
        if now < half_open_at:
            return Decision(None, Admission(False, phase, generation, -1, half_open_at, False))
        kept = (failures, 0, reopenings, cause, opened_at, closed_at)
        begun = (HALF_OPEN, generation + 1, *kept, now + lease, *_FREE[1:])
        return Decision(begun, Admission(True, HALF_OPEN, generation + 1, 0, now + lease, True), True)
    ends = [deadline for deadline in places if deadline > now]
    if len(ends) >= min(limits.probes, MAX_PROBES):
        return Decision(None, Admission(False, HALF_OPEN, generation, -1, min(ends), False))
    slot = next(at for at, deadline in enumerate(places) if deadline <= now)
    places[slot] = now + lease
    leased = (HALF_OPEN, generation, failures, successes, reopenings, cause, opened_at, closed_at, *places)
    return Decision(leased, Admission(True, HALF_OPEN, generation, slot, now + lease, False))


def report(  # noqa: PLR0917 - an operation's arguments are positional
    state: State,
    now: float,
    generation: int,
    ok: bool | None,
    slot: int,
    deadline: float,
    limits: Limits,
    hold: bool = False,
) -> Decision[Outcome]:
    """How did it end? ok None: neither success nor failure (the client left); a probe's place is free again.

    generation, slot, deadline: from the admission. hold: a closed one must not open; that it should is told.
    """
    phase, current, failures, successes, reopenings, cause, opened_at, closed_at, *places = state
    if generation != current or phase not in (CLOSED, HALF_OPEN):
        return Decision(None, Outcome(phase, False, failures, False))
    if phase == CLOSED:
        if ok is None or (ok and (limits.window or not failures)):
            return Decision(None, Outcome(CLOSED, False, failures, True))
        if ok:
            failures, places = 0, list(_FREE)
        elif limits.window:
            recent = [now, *_within(places, now, limits.window)][:MAX_TIMES]
            failures, places = len(recent), [*recent, *_FREE[len(recent) :]]
        else:
            failures, places = failures + 1, list(_FREE)
        due = failures >= limits.failures
        if due and not hold:
            return _opened(current, failures, 0, FAILURES, now, closed_at)
        counted = (CLOSED, current, failures, 0, 0, 0, opened_at, closed_at, *places)
        return Decision(counted, Outcome(CLOSED, False, failures, True, due))
    if ok is False:
        return _opened(current, failures, reopenings + 1, PROBE_FAILED, now, closed_at)
    if ok and successes + 1 >= limits.probes:
        closed = (CLOSED, current + 1, 0, 0, 0, 0, opened_at, now, *_FREE)
        return Decision(closed, Outcome(CLOSED, True, 0, True), True)
    if places[slot] == deadline:  # else the lease had ended, and its place is another probe's
        places[slot] = 0.0
    kept = (HALF_OPEN, current, failures, successes + bool(ok), reopenings, cause, opened_at, closed_at, *places)
    return Decision(kept, Outcome(HALF_OPEN, False, failures, True))


def leased(state: State, now: float) -> int:
    """How many probes of a half-open one are leased."""
    return sum([deadline > now for deadline in state[8:]])


def reclaim(state: State, now: float, seen: State, count: int) -> Decision[bool]:
    """Free so many leases, if it is still half open as it was `seen`; deadlines tell leases apart.

    Which ones does not matter: a living probe that loses its place to a dead one's still counts, and the places taken
    are as many as there are probes.
    """
    if state != seen or state[0] != HALF_OPEN:
        return Decision(None, False)
    places = list(state[8:])
    for _, at in sorted((deadline, at) for at, deadline in enumerate(places) if deadline > now)[:count]:
        places[at] = 0.0
    return Decision((*state[:8], *places), True)


def trip(state: State, now: float, generation: int, cause: int) -> Decision[Outcome]:
    """Open it, if it is still as it was in that generation. cause: one of CAUSES, by index."""
    phase, current, failures, *_ = state
    if phase != CLOSED or generation != current:
        return Decision(None, Outcome(phase, False, failures, False))
    return _opened(current, failures, 0, cause, now, state[7])


def steer(state: State, now: float, target: int) -> Decision[Steered]:
    """What an operator orders. target: one of TARGETS."""
    phase, generation, _, _, _, _, opened_at, closed_at, *_ = state
    if phase == target and target != CLOSED:
        return Decision(None, Steered(phase, phase, False))
    if target == FORCED_OPEN:
        opened_at = now
    elif phase not in PASSING:
        closed_at = now
    steered = (target, generation + 1, 0, 0, 0, 0, opened_at, closed_at, *_FREE)
    return Decision(steered, Steered(phase, target, True), True)


def open_phase(limits: Limits, reopenings: int) -> float:
    """Seconds for which it is open, having reopened so many times."""
    if not limits.max_open_for:
        return limits.open_for
    return min(limits.open_for * 2.0 ** min(reopenings, _MOST_DOUBLINGS), limits.max_open_for)


def forget(state: State, now: float) -> Decision[None]:
    """The instance is gone. Its generation goes on, so that what is still under way says nothing about a later one."""
    return Decision((CLOSED, state[1] + 1, *INITIAL[2:]), None)


def open_until(state: State, limits: Limits) -> float:
    """The monotonic time until which nothing may go (forced open: inf), 0.0 when it is not open. Nothing is leased."""
    phase, _, _, _, reopenings, _, opened_at, *_ = state
    if phase == FORCED_OPEN:
        return math.inf
    return float(opened_at) + open_phase(limits, reopenings) if phase == OPEN else 0.0


def closed_at(state: State) -> float:
    """When everything could go again after a time in which it could not, monotonic seconds; 0.0: there was none."""
    return float(state[7])


def failures_of(state: State, now: float, limits: Limits) -> int:
    """In a row, or within the window; those that opened it when it is not closed."""
    phase, _, failures, *_ = state
    return len(_within(state[8:], now, limits.window)) if phase == CLOSED and limits.window else int(failures)


def _within(times: tuple[float, ...] | list[float], now: float, window: float) -> list[float]:
    return [at for at in times if at and now - at < window]


def _opened(  # noqa: PLR0917
    generation: int, failures: int, reopenings: int, cause: int, now: float, came_back: float
) -> Decision[Outcome]:
    state = (OPEN, generation + 1, failures, 0, reopenings, cause, now, came_back, *_FREE)
    return Decision(state, Outcome(OPEN, True, failures, True, False, reopenings), True)


def _lifetime(state: State) -> float:
    if state[2:] == INITIAL[2:]:
        return _FORGOTTEN
    return _LIFETIME if state[0] in (CLOSED, OPEN, HALF_OPEN) else math.inf


# The registry's: one version tells whether who may be picked has changed, be it an instance or its breaker.
TOPIC = "registry"
ALLOW = Operation("breaker.allow", LAYOUT, INITIAL, allow, _lifetime, TOPIC)
REPORT = Operation("breaker.report", LAYOUT, INITIAL, report, _lifetime, TOPIC)
RECLAIM = Operation("breaker.reclaim", LAYOUT, INITIAL, reclaim, _lifetime, TOPIC)
TRIP = Operation("breaker.trip", LAYOUT, INITIAL, trip, _lifetime, TOPIC)
STEER = Operation("breaker.steer", LAYOUT, INITIAL, steer, _lifetime, TOPIC)
FORGET = Operation("breaker.forget", LAYOUT, INITIAL, forget, _lifetime, TOPIC)
