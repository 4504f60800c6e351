"""The stage that has a backend answer: picks an instance, lets the request through to it, reports how that ended, and
tries another one where `retries` says so.

What is reported to the breaker and to passive health, once for each try:

- no answer: a failure, when its kind is in `failure_on`; nothing, when the client was at fault or left;
- a status of 500 and above: a failure, at once (when `failure_on` has 5xx);
- another answer whose body is there: a success, at once;
- another answer whose body is still to come: at its end, a success, or a failure when the backend breaks it off;
  nothing, when the client leaves before. So a backend that breaks off every body opens its breaker, although each of
  its heads was good. A half-open breaker's probe is judged by the head alone: a long download must not hold its permit.

A request counts as in flight from the pick until the body ended, was broken off, or was closed.

Another try is decided while nothing has gone to the client: an answer that is passed on is passed on whole.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from gateway.clock import Clock
from gateway.errors import Refusal, UpstreamFailure
from gateway.exchange import Answer, Exchange
from gateway.state.breakers import Permit
from gateway.state.inflight import InFlight

from .eligible import Eligible
from .picking import Picked, nobody, pick
from .plans import Plan, deadline_of, unreachable
from .reporting import Streamed, report
from .targets import Target

_NOBODY: tuple[str, ...] = ()

Proceed = Callable[[Exchange], Answer]


class Attempts:
    """A stage; see `pipeline`. sleep, chance: for the pause before another attempt."""

    def __init__(
        self,
        eligible: Eligible,
        inflight: InFlight,
        clock: Clock,
        sleep: Callable[[float], object] = time.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._plan = eligible.plan
        self._in_flight = inflight.in_flight
        self._requests = inflight.requests
        self._now = clock.monotonic
        self._wall = clock.wall
        self._sleep = sleep
        self._chance = chance

    def __call__(self, exchange: Exchange, proceed: Proceed) -> Answer:
        name, now = exchange.service_name, self._now()
        plan = None if name is None else self._plan(name, exchange.route, now)
        if plan is None:
            raise unreachable(name)
        exchange.service = plan.eligible.view
        exchange.timeouts = plan.timeouts
        exchange.deadline = deadline_of(exchange, plan.timeouts)
        if plan.budget is not None:
            plan.budget.note(now)
        if plan.sticky is not None:
            return self._stuck(exchange, proceed, plan, now)
        if plan.choose is None:
            raise nobody(plan.eligible, now)
        target = plan.targets[plan.choose(exchange).key]
        permit: Permit | None = None
        if target.breaker is not None:
            permit = target.breaker.allow(plan.timeouts.request)
            if permit is None:
                target, permit = self._picked(exchange, plan, now, (target.instance.key,))
        return self._answer(exchange, proceed, plan, target, permit)

    def _stuck(self, exchange: Exchange, proceed: Proceed, plan: Plan, now: float) -> Answer:
        """To the instance that the client's cookie names, where that may be; else to another one and a new cookie."""
        sticky, wall = plan.sticky, self._wall()
        assert sticky is not None  # noqa: S101
        claim = sticky.claim(exchange, wall)
        target = None if claim is None else plan.claimed.get(claim.token)
        permit: Permit | None = None
        if target is not None and target.breaker is not None:
            permit = target.breaker.allow(plan.timeouts.request)
            target = None if permit is None else target
        if target is None:
            if plan.choose is None:
                raise nobody(plan.eligible, now)
            target, permit = self._picked(exchange, plan, now)
        answer = self._answer(exchange, proceed, plan, target, permit)
        key = exchange.instance.key
        token = plan.tokens.get(key) or sticky.token(key)
        if claim is None or claim.token != token or (sticky.due(claim, wall) and key not in plan.eligible.draining):
            answer.headers.append(sticky.issue(token, wall))
        return answer

    def _answer(
        self, exchange: Exchange, proceed: Proceed, plan: Plan, target: Target, permit: Permit | None
    ) -> Answer:
        """From this target, or from another one when it fails and may be tried elsewhere."""
        retries = plan.retries
        if retries is None:
            return self._attempt(exchange, proceed, target, permit)
        probe = permit is not None and permit.is_probe
        try:
            answer = self._attempt(exchange, proceed, target, permit)
        except UpstreamFailure as failure:
            if not retries.covers(exchange, failure, probe=probe):
                raise
            return self._again(exchange, proceed, plan, failure)
        if answer.status >= 400 and retries.covers(exchange, answer, probe=probe):
            return self._again(exchange, proceed, plan, answer)
        return answer

    def _again(self, exchange: Exchange, proceed: Proceed, plan: Plan, outcome: Answer | UpstreamFailure) -> Answer:
        """Further attempts, while the outcome is one to try again after and there is time, budget and somebody."""
        retries, budget = plan.retries, plan.budget
        assert retries is not None  # noqa: S101
        assert budget is not None  # noqa: S101
        while exchange.attempts < retries.attempts:
            exchange.tried = (*exchange.tried, exchange.instance.key)
            pause = retries.pause(exchange.attempts, self._chance())
            if self._now() + pause >= exchange.deadline or not _somebody(exchange, plan, outcome) or not budget.spend():
                break
            if pause:
                self._sleep(pause)
            try:
                picked = self._other(exchange, outcome)
            except Refusal:  # no room to choose: what there is, is the answer
                break
            except BaseException:
                _let_go(outcome)
                raise
            if picked is None:
                break
            _let_go(outcome)
            try:
                outcome = self._attempt(exchange, proceed, *picked)
            except UpstreamFailure as failure:
                outcome = failure
            if not retries.covers(exchange, outcome):
                break
        if isinstance(outcome, Answer):
            return outcome
        raise outcome

    def _attempt(self, exchange: Exchange, proceed: Proceed, target: Target, permit: Permit | None) -> Answer:
        """One try at one instance. permit: None when the instance has no breaker."""
        in_flight, column = self._in_flight, target.in_flight
        in_flight[column] += 1
        self._requests[target.requests] += 1
        exchange.instance = target.instance
        exchange.attempts += 1
        exchange.upstream_seconds = 0.0
        try:
            answer = proceed(exchange)
        except BaseException as error:
            in_flight[column] -= 1
            report(target, permit, target.judged(error, exchange), exchange.upstream_seconds)
            raise
        whole = type(answer.body) is list
        if whole:
            in_flight[column] -= 1
        if answer.status >= 500 and "5xx" in target.failures:
            report(target, permit, False, exchange.upstream_seconds)
            permit = None
            if whole:
                return answer
            answer.body = Streamed(answer.body, exchange, in_flight, target, None, told=True)
            return answer
        if permit is not None and (whole or permit.is_probe):
            permit.done(True, exchange.upstream_seconds)
            permit = None
        if not whole:
            answer.body = Streamed(answer.body, exchange, in_flight, target, permit)
        return answer

    def _picked(self, exchange: Exchange, plan: Plan, now: float, refused: tuple[str, ...] = _NOBODY) -> Picked:
        """Somebody who lets the request through, `refused` not asked again. CircuitOpen when nobody does."""
        picked = pick(exchange, plan, refused)
        if picked is None:
            raise nobody(plan.eligible, now)
        return picked

    def _other(self, exchange: Exchange, outcome: Answer | UpstreamFailure) -> Picked | None:
        """For another attempt: one that has not failed the request yet, where there is one; None: nobody at all.

        One that did not take the connection, or let its time pass, will hardly do better a moment later: only after an
        answer or a broken connection the same instance may be asked again.
        """
        plan = self._plan(exchange.service_name or "", exchange.route, self._now())
        if plan is None or plan.choose is None:
            return None
        exchange.service = plan.eligible.view
        another = pick(exchange, plan, exchange.tried)
        return pick(exchange, plan, _NOBODY) if another is None and _again_at(outcome) else another


def _again_at(outcome: Answer | UpstreamFailure) -> bool:
    """Whether the instance that this came from may be asked again."""
    return isinstance(outcome, Answer) or (outcome.sent and outcome.failure == "reset")


def _somebody(exchange: Exchange, plan: Plan, outcome: Answer | UpstreamFailure) -> bool:
    """Whether there is anybody for another attempt, as far as the plan knows: where nobody is, nothing is paid for."""
    targets = plan.eligible.targets
    return _again_at(outcome) or len(targets) > len(exchange.tried) or any(key not in exchange.tried for key in targets)


def _let_go(outcome: Answer | UpstreamFailure) -> None:
    """Nobody gets this answer."""
    if isinstance(outcome, Answer) and (close := getattr(outcome.body, "close", None)) is not None:
        close()
