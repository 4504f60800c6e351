"""The health of one instance: what probes found, what requests met, and what an operator wants, in one record.

Theory. Active and passive health checks are two failure detectors (Chandra and Toueg, "Unreliable failure detectors",
1996) that err in different ways: a probe sees only its own path, and requests see a failure only after it cost one.
An instance is well when neither suspects it.

- Active: `unhealthy_after` failed probes in a row take it out, `healthy_after` good ones in a row bring it back: two
  thresholds, so that it does not flap between them (hysteresis; as in HAProxy's `rise` and `fall`). What counts is in
  the record, so whoever probes next goes on counting.
- Passive: `failures` failed requests within `window` take it out for `retry_after`; then it returns by itself (as
  `max_fails` and `fail_timeout` in nginx). The window slides and is exact: the times of the last failures are kept, and
  the oldest of the last `failures` of them is compared. They stay when it returns, so that one more failure within the
  window of the others takes it out again. A failure while it is out is counted, but makes that no longer.
- Mode: enabled, draining, disabled. The operator's last word holds, but that disabled is more than draining.

    well      becomes     when
    --------  ----------  ------------------------------------------------------------------------
    well      unwell      a probe fails, the `unhealthy_after`th in a row (down)
    well      unwell      a request fails, the `failures`th within `window` (marked)
    unwell    well        a probe succeeds, the `healthy_after`th in a row (down no more)
    unwell    well        `retry_after` is over, and it is not down; by time alone, `settle` only notes it

Lives. An instance that went and registered again is another one, with a later `life`. What is still reported of the one
before (requests that were under way when it stopped) is of an earlier life than the record's, and dropped.

An instance that is not known is well. Settings are arguments and not part of the record, so a reload that changes them
applies to what is kept; a suspicion whose settings are gone counts no more. Times are the engine's monotonic seconds.
"""

from __future__ import annotations

import math
import struct
from typing import Any, NamedTuple

from . import Decision, Operation, State

ENABLED, DRAINING, DISABLED = 0, 1, 2
MODES = ("enabled", "draining", "disabled")
ACTIONS = {"drain": DRAINING, "undrain": ENABLED, "disable": DISABLED, "enable": ENABLED}  # constant

GOOD, REFUSED, TIMED_OUT, STATUS, BODY, TLS, NAME, ADDRESS, RESET, BAD_ANSWER = range(10)
WORDS = (
    "good", "refused", "timed out", "status", "body mismatch", "tls failed", "name unresolved", "address refused",
    "connection reset", "bad answer",
)  # fmt: skip

MAX_FAILURES = 16  # times that are kept; the configuration allows no higher threshold

# Active: good probes in a row, failed ones in a row, 1 when down, what the last failed one found and its HTTP status,
# when it came back. Passive: times of failures, oldest first, 0.0: none; until when it is out (kept when it is over),
# how many took it out, 1 while nobody has told its return. Mode, and since when. Which life of the instance it is of.
LAYOUT = struct.Struct(f"=5qd{MAX_FAILURES}dd2qqdd")
_NEVER = (0.0,) * MAX_FAILURES
INITIAL = (0, 0, 0, GOOD, 0, 0.0, *_NEVER, 0.0, 0, 0, ENABLED, 0.0, 0.0)

# As a breaker's: the record of an instance that is gone is dropped, and what that misses lasts this long.
_LIFETIME = 30 * 86_400.0


class Finding(NamedTuple):
    """What a probe found: one of the constants, and the HTTP status where that is what is wrong."""

    code: int
    status: int = 0

    def __str__(self) -> str:
        return f"status {self.status}" if self.code == STATUS else WORDS[self.code]


class Record(NamedTuple):
    """A state by names."""

    successes: int
    failures: int
    down: int
    code: int
    status: int
    up_at: float
    times: tuple[float, ...]
    until: float
    marked_by: int
    untold: int
    mode: int
    mode_at: float
    life: float

    @classmethod
    def of(cls, state: State) -> Record:
        values: list[Any] = [*state[:6], state[6 : 6 + MAX_FAILURES], *state[6 + MAX_FAILURES :]]
        return cls(*values)

    @property
    def state(self) -> State:
        return (*self[:6], *self.times, *self[7:])

    @property
    def finding(self) -> Finding:
        return Finding(self.code, self.status)


class Change(NamedTuple):
    """What an operation answers.

    returned: `retry_after` had ended, and this is the first to note it, so that it is told once.
    became_unwell, became_well: what this very operation did. record: as it is afterwards.
    """

    returned: bool
    became_unwell: bool
    became_well: bool
    record: Record


class Steering(NamedTuple):
    """What `steer` answers: the mode before and after."""

    was: int
    mode: int


def well(record: Record, now: float, active: bool, passive: bool) -> bool:
    """Whether neither suspects it. active, passive: whether the service has such settings."""
    return not (active and record.down) and not (passive and record.until > now)


def settle(state: State, now: float, active: bool, life: float = 0.0) -> Decision[Change]:
    """Note that `retry_after` is over, where nobody has."""
    record, returned = _settled(_of_life(state, life), now, active)
    if record.life > life:
        return Decision(None, Change(False, False, False, record))
    return Decision(record.state if record.state != state else None, Change(returned, False, False, record))


def probed(  # noqa: PLR0917 - an operation's arguments are positional
    state: State,
    now: float,
    code: int,
    status: int,
    healthy_after: int,
    unhealthy_after: int,
    passive: bool,
    life: float = 0.0,
) -> Decision[Change]:
    """What a probe found. Good news of an instance without a failed probe changes nothing, and is not written."""
    before, returned = _settled(_of_life(state, life), now, True)
    if before.life > life:
        return Decision(None, Change(False, False, False, before))
    if code == GOOD and before.down:
        successes = before.successes + 1
        up = successes >= healthy_after
        record = before._replace(
            successes=0 if up else successes, failures=0 if up else before.failures, down=int(not up),
            up_at=now if up else before.up_at,
        )  # fmt: skip
    elif code == GOOD:
        record = before._replace(failures=0)
    else:
        failures = before.failures + 1
        down = before.down or int(failures >= unhealthy_after)
        record = before._replace(successes=0, failures=failures, down=down, code=code, status=status)
    was, is_ = well(before, now, True, passive), well(record, now, True, passive)
    change = Change(returned, was and not is_, is_ and not was, record)
    return Decision(record.state if record.state != state else None, change, record.down != before.down)


def failed(  # noqa: PLR0917 - an operation's arguments are positional
    state: State, now: float, threshold: int, window: float, retry_after: float, active: bool, life: float = 0.0
) -> Decision[Change]:
    """A request failed. threshold: `failures`, at most MAX_FAILURES."""
    before, returned = _settled(_of_life(state, life), now, active)
    if before.life > life:
        return Decision(None, Change(False, False, False, before))
    times = (*before.times[1:], now)
    within = sum(at > now - window for at in times if at)
    record = before._replace(times=times)
    marked = within >= threshold and before.until <= now
    if marked:
        record = record._replace(until=now + retry_after, marked_by=within, untold=1)
    was = well(before, now, active, True)
    return Decision(record.state, Change(returned, marked and was, False, record), marked)


def steer(state: State, now: float, action: str, life: float = 0.0) -> Decision[Steering]:
    """What the operator wants. `drain` and `undrain` leave an instance disabled that is."""
    record, wanted = _of_life(state, life), ACTIONS[action]
    if record.life > life:
        return Decision(None, Steering(record.mode, record.mode))
    if wanted == record.mode or (action == "undrain" and record.mode != DRAINING):
        return Decision(None, Steering(record.mode, record.mode))
    if action == "drain" and record.mode == DISABLED:
        return Decision(None, Steering(record.mode, record.mode))
    return Decision(record._replace(mode=wanted, mode_at=now).state, Steering(record.mode, wanted), True)


def returned_at(record: Record, active: bool, passive: bool) -> float:
    """When an instance that is fit last became so; 0.0 when it always was. Each of three things kept it away until its
    own time, so it is the last of these."""
    return max(record.up_at if active else 0.0, record.until if passive else 0.0, record.mode_at)


def _of_life(state: State, life: float) -> Record:
    """The record, begun anew when it is of an earlier life of the instance."""
    record = Record.of(state)
    return record if record.life >= life else Record.of(INITIAL)._replace(life=life)


def _settled(record: Record, now: float, active: bool) -> tuple[Record, bool]:
    """The record with a return that is due told, and whether that made it well: while it is down it did not."""
    if not record.untold or record.until > now:
        return record, False
    return record._replace(untold=0), not (active and record.down)


def _lifetime(state: State) -> float:
    return _LIFETIME if state[-3] == ENABLED else math.inf  # an operator's word does not lapse


# The registry's: one version tells whether who may be picked has changed.
TOPIC = "registry"
PROBED: Operation[Change] = Operation("health.probed", LAYOUT, INITIAL, probed, _lifetime, TOPIC)
FAILED: Operation[Change] = Operation("health.failed", LAYOUT, INITIAL, failed, _lifetime, TOPIC)
SETTLE: Operation[Change] = Operation("health.settle", LAYOUT, INITIAL, settle, _lifetime, TOPIC)
STEER: Operation[Steering] = Operation("health.steer", LAYOUT, INITIAL, steer, _lifetime, TOPIC)
