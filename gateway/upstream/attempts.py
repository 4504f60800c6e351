"""The stage that has a backend answer: picks an instance, lets the request through to it, and reports how that ended.

One try is made. What is reported to the breaker, once for each try:

- no answer: a failure, when its kind is in `failure_on`; nothing, when the client was at fault or left;
- a status of 500 and above: a failure, at once (when `failure_on` has 5xx);
- another answer whose body is there: a success, at once;
- another answer whose body is still to come: at its end, a success, or a failure when the backend breaks it off;
  nothing, when the client leaves before. So a backend that breaks off every body opens its breaker, although each of
  its heads was good. A half-open breaker's probe is judged by the head alone: a long download must not hold its permit.

A request counts as in flight from the pick until the body ended, was broken off, or was closed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

from gateway.clock import Clock
from gateway.config.model import Timeouts
from gateway.errors import CircuitOpen, NoInstance, UnknownService, UpstreamFailure
from gateway.exchange import Answer, Exchange
from gateway.state.breakers import Breaker, Permit
from gateway.state.inflight import InFlight
from gateway.state.registry import ServiceView

from .eligible import Eligible, EligibleSet, Target

MAX_DRAWS = 8  # by the balancer, when half-open instances refuse; then the rest are asked in order
BUSY_PROBES = 1.0  # seconds; when to try again where every probe of a half-open instance is under way
NO_INSTANCE = 5.0  # seconds; when to try again where there is nobody: one that restarts is back about then


class Attempts:
    """A stage; see `pipeline`."""

    def __init__(self, eligible: Eligible, inflight: InFlight, clock: Clock) -> None:
        self._eligible = eligible.of
        self._in_flight = inflight.in_flight
        self._requests = inflight.requests
        self._now = clock.monotonic

    def __call__(self, exchange: Exchange, proceed: Callable[[Exchange], Answer]) -> Answer:
        name, route, now = exchange.service_name, exchange.route, self._now()
        eligible = self._eligible(name, now) if name is not None else None
        if eligible is None or not _reachable(eligible.view, route):
            raise UnknownService(f"there is no service {name!r}", service=name)
        timeouts = eligible.timeouts.get(route)
        if timeouts is None:
            timeouts = eligible.timeouts[route] = _merged(eligible.view.settings.timeouts, route)
        exchange.service = eligible.view
        exchange.timeouts = timeouts
        exchange.deadline = exchange.received + timeouts.request

        if eligible.choose is None:
            raise _nobody(eligible, now)
        target = eligible.targets[eligible.choose(exchange).key]
        permit: Permit | None = None
        if target.breaker is not None:
            permit = target.breaker.allow(timeouts.request)
            if permit is None:
                target, permit = _another(eligible, target, exchange, now)

        in_flight, column = self._in_flight, target.in_flight
        in_flight[column] += 1
        self._requests[target.requests] += 1
        exchange.instance = target.instance
        exchange.attempts = 1
        try:
            answer = proceed(exchange)
        except BaseException as error:
            in_flight[column] -= 1
            if permit is not None:
                permit.done(_judged(permit.breaker, error))
            raise
        whole = type(answer.body) is list
        if whole:
            in_flight[column] -= 1
        if permit is not None:
            if answer.status >= 500 and "5xx" in permit.breaker.settings.failure_on:
                permit.done(False)
                permit = None
            elif whole or permit.is_probe:
                permit.done(True)
                permit = None
        if not whole:
            answer.body = _Streamed(answer.body, in_flight, column, permit)
        return answer


class _Streamed:
    """A body on its way; at its end the request is no longer in flight, and the permit, if any, is told the outcome."""

    __slots__ = ("_body", "_column", "_in_flight", "_next", "_permit")

    def __init__(self, body: Iterable[bytes], in_flight: memoryview, column: int, permit: Permit | None) -> None:
        self._body = body
        self._next = iter(body).__next__
        self._in_flight: memoryview | None = in_flight  # None: it has ended
        self._column = column
        self._permit = permit

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            return self._next()
        except StopIteration:
            self._end(True)
            raise
        except BaseException as error:
            self._end(None if self._permit is None else _judged(self._permit.breaker, error))
            raise

    def close(self) -> None:
        """The server has sent what it could. Before the end of the body that is the client's doing."""
        try:
            close = getattr(self._body, "close", None)
            if close is not None:
                close()
        finally:
            self._end(None)

    def _end(self, ok: bool | None) -> None:
        in_flight, self._in_flight = self._in_flight, None
        if in_flight is None:
            return
        in_flight[self._column] -= 1
        if self._permit is not None:
            self._permit.done(ok)


def _another(eligible: EligibleSet, refused: Target, exchange: Exchange, now: float) -> tuple[Target, Permit | None]:
    """A target that lets the request through, after `refused` did not. CircuitOpen when none does.

    The balancer is asked anew, so that what a half-open instance refuses is spread over all others, instead of falling
    to the one that comes after it.
    """
    tried = {refused.instance.key}
    for target in _candidates(eligible, exchange):
        if len(tried) == len(eligible.targets):
            break
        if target.instance.key in tried:
            continue
        tried.add(target.instance.key)
        permit = None if target.breaker is None else target.breaker.allow(exchange.timeouts.request)
        if permit is not None or target.breaker is None:
            return target, permit
    raise _nobody(eligible, now)


def _candidates(eligible: EligibleSet, exchange: Exchange) -> Iterator[Target]:
    if eligible.choose is not None:
        for _ in range(MAX_DRAWS):
            yield eligible.targets[eligible.choose(exchange).key]
    yield from eligible.targets.values()


def _nobody(eligible: EligibleSet, now: float) -> NoInstance | CircuitOpen:
    name = eligible.view.name
    if not eligible.view.instances:
        return NoInstance(f"{name} has no instance", service=name, retry_after=NO_INSTANCE)
    wait = min(eligible.until - now, BUSY_PROBES if eligible.targets else math.inf)
    return CircuitOpen(f"every instance of {name} has failed and is left alone", service=name, retry_after=wait)


def _judged(breaker: Breaker, error: BaseException) -> bool | None:
    """What an attempt that ended with this error says about the instance."""
    if isinstance(error, UpstreamFailure) and error.failure in breaker.settings.failure_on:
        return False
    return None


def _merged(timeouts: Timeouts, route: Any) -> Timeouts:
    """The service's timeouts with the route's own laid over them."""
    return replace(timeouts, **route.timeouts) if route is not None and route.timeouts else timeouts


def _reachable(view: ServiceView, route: Any) -> bool:
    """Whether the route leads there. When the client's path names the service, it must be one that the configuration
    lists or exposes: what merely registered itself is not reached by guessing its name."""
    return view.configured or view.settings.expose or route is None or route.service_position is None
