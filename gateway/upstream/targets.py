"""The values that choosing works on: an instance with its state at hand, and what may be picked of a service."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.errors import DeadlineExceeded, UpstreamFailure
from gateway.exchange import Exchange
from gateway.state.breakers import Breaker
from gateway.state.engines import Version
from gateway.state.health import Health
from gateway.state.registry import Instance, ServiceView


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """An instance with all that a request to it needs to be let through and counted.

    breaker: None without one. health: told of failures of requests when `passive`. failures: the kinds that count as
    one. in_flight, requests: its columns in the counters of those names.
    """

    instance: Instance
    breaker: Breaker | None
    health: Health
    passive: bool
    failures: frozenset[str]
    in_flight: int
    requests: int

    def judged(self, error: BaseException, exchange: Exchange) -> bool | None:
        """What an attempt that ended with this error says about the instance: False, or nothing.

        A deadline that ran out says something only where the instance had all of the configured time.
        """
        if not isinstance(error, UpstreamFailure) or error.failure not in self.failures:
            return None
        if isinstance(error, DeadlineExceeded) and (exchange.cut_short or exchange.attempts > 1):
            return None
        return False


@dataclass(frozen=True, slots=True, eq=False)
class EligibleSet:
    """What may be picked of a service, while the registry's version is `version` and until `until`, monotonic seconds.

    targets: by the instance's key, those that may be picked; in the view's order. all_targets: every instance.
    draining: those that only sticky requests may still reach. ramping: when those in slow start came.
    open, unhealthy: how many are left out because of that; back_at: when the first of them comes back by itself, inf:
    nobody knows. plans: by route; filled by `Eligible`.
    """

    view: ServiceView
    version: Version
    until: float
    targets: Mapping[str, Target]
    all_targets: Mapping[str, Target]
    draining: Mapping[str, Target]
    ramping: Mapping[str, float]
    open: int
    unhealthy: int
    back_at: float
    plans: dict[Any, Any]
