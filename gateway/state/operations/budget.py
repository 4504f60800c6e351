"""A budget for retries: a share of the requests of late, but at least so many a second.

Theory. A retry helps when few attempts fail and does harm when most do: then it multiplies the load on what is failing
already. So retries may be a share of the requests and no more ("Addressing Cascading Failures", in Beyer et al., "Site
Reliability Engineering", 2016; finagle's RetryBudget). Each request is a credit and each retry costs 1/share of them,
so over any time there are at most share * requests retries, and what had been saved up before.

What can be saved up is bounded by forgetting: credit decays with a time constant of `MEMORY` seconds, all but the price
of one retry, so at a steady rate of r requests a second share * r * MEMORY retries can be made at once. That is enough
for those that an instance has in flight when it dies, and little against the requests of the seconds after.

Requests are counted elsewhere, without a lock; `observe` and `spend` are told the total and turn the difference into
credit, as if those requests had come evenly. Where requests are few, a floor of so many retries a second goes beside
it: it is a debt that is paid off with time. A retry takes from both, so the two do not add up.
"""

from __future__ import annotations

import math
import struct

from gateway.state.operations import Decision, Operation, State

MEMORY = 0.5  # seconds

LAYOUT = struct.Struct("=4d")  # requests at the last look, when that was, credit in requests, debt in retries
INITIAL = (0.0, 0.0, 0.0, 0.0)
_LIFETIME = 3600.0  # seconds; the credit is gone long before
_SLACK = 1e-6


def _accrued(state: State, now: float, total: int, share: float, floor: float) -> tuple[float, float]:
    """Credit and debt as of now."""
    known, since, credit, debt = state
    if not since:
        return 0.0, 0.0  # what came before the first look is not known
    elapsed = max(0.0, now - since)
    debt = max(0.0, debt - elapsed * floor)
    left = math.exp(-elapsed / MEMORY)
    price = 1 / share if share else 0.0
    come = max(0.0, total - known)
    kept = min(price, credit + come)
    # What came evenly over `elapsed` has decayed by as much on average: the integral of the decay.
    late = (1 - left) * MEMORY / elapsed if elapsed > 1e-3 else 1.0
    return kept + max(0.0, credit - price) * left + max(0.0, come - max(0.0, price - credit)) * late, debt


def _observe(state: State, now: float, total: int, share: float, floor: float) -> Decision[None]:
    credit, debt = _accrued(state, now, total, share, floor)
    return Decision(_written(state, now, total, credit, debt), None)


def _spend(state: State, now: float, total: int, share: float, floor: float) -> Decision[bool]:
    credit, debt = _accrued(state, now, total, share, floor)
    price = 1 / share if share else math.inf
    if credit + _SLACK < price and debt + 1 > max(1.0, floor) * (floor > 0) + _SLACK:
        return Decision(_written(state, now, total, credit, debt), False)
    credit = max(0.0, credit - price)
    debt = min(debt + 1, max(1.0, floor))
    return Decision(_written(state, now, total, credit, debt), True)


def _written(state: State, now: float, total: int, credit: float, debt: float) -> State:
    """The total was read before the record was: one that another worker overtook must not count its requests again."""
    return (max(total, state[0]), max(now, state[1]), credit, debt)


def _lifetime(state: State) -> float:
    return _LIFETIME


# observe(total, share, floor), spend(total, share, floor): total requests so far; share above 0 to 1, 0: none; floor in
# retries a second. spend tells whether one more retry may be made.
OBSERVE: Operation[None] = Operation("budget.observe", LAYOUT, INITIAL, _observe, _lifetime)
SPEND: Operation[bool] = Operation("budget.spend", LAYOUT, INITIAL, _spend, _lifetime)
