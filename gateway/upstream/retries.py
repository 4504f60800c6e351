"""When another attempt may be made: what `retries` says, compiled.

A failure before anything was sent (refused, not accepted, not resolved, no free connection) says nothing about the
request: it may be made again whatever its method. Afterwards the backend may have acted on it, so only a method that
`methods` lists is tried again, or a request that carries an Idempotency-Key: its client says that the backend
recognises a second one (draft-ietf-httpapi-idempotency-key-header). A body is sent again only while it is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from gateway.config.model import Retries
from gateway.errors import DeadlineExceeded, UpstreamFailure
from gateway.exchange import Answer, Exchange

LONGEST_PAUSE = 1.0  # seconds

_KEY = "idempotency-key"


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """attempts: all tries. statuses, failures: what is tried again. backoff: seconds, before the second attempt."""

    attempts: int
    statuses: frozenset[int]
    failures: frozenset[str]
    methods: frozenset[str]
    backoff: float

    def covers(self, exchange: Exchange, outcome: Answer | UpstreamFailure, *, probe: bool = False) -> bool:
        """Whether this outcome of an attempt is one to try again after, as far as outcome and request tell.

        probe: the attempt was a probe of a half-open breaker. Its instance was under suspicion, so whatever failed is
        tried elsewhere: a client should not pay for what the gateway wants to know.
        """
        safe = exchange.method in self.methods
        if isinstance(outcome, Answer):
            if outcome.status not in self.statuses and not (probe and outcome.status >= 500):
                return False
        else:
            # A full pool is this instance's alone, like a refused connection.
            kind = outcome.failure if outcome.sent else "connect"
            if (kind not in self.failures and not probe) or isinstance(outcome, DeadlineExceeded):
                return False
            safe = safe or not outcome.sent
        if not safe and not any(name.lower() == _KEY for name, _ in exchange.headers):
            return False
        return exchange.upload is None or bool(exchange.upload.replayable)

    def pause(self, attempts: int, chance: float) -> float:
        """Seconds before the next attempt, after so many: full jitter over a bound that doubles (Brooker, "Exponential
        Backoff and Jitter", AWS 2015). chance: from 0 to 1, evenly distributed."""
        bound: float = self.backoff * 2 ** min(attempts - 1, 16)
        return chance * min(bound, LONGEST_PAUSE)


def merged(settings: Retries, overrides: Mapping[str, Any] | None) -> Retries:
    """A service's settings with a route's own laid over them."""
    return replace(settings, **overrides) if overrides else settings


def compiled(settings: Retries) -> RetryPolicy | None:
    """None: one attempt is made."""
    if settings.attempts == 1:
        return None
    return RetryPolicy(
        attempts=settings.attempts,
        statuses=frozenset(one for one in settings.when if isinstance(one, int)),
        failures=frozenset(one for one in settings.when if isinstance(one, str)),
        methods=frozenset(method.upper() for method in settings.methods),
        backoff=settings.backoff,
    )
