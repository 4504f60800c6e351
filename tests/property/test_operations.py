"""Limiters against the plain definition, over generated arrivals."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.state.operations import Operation, State
from gateway.state.operations.bucket import TAKE
from gateway.state.operations.lease import ACQUIRE, RELEASE, RENEW
from gateway.state.operations.window import HIT

GAPS = st.lists(st.one_of(st.just(0.0), st.floats(0.001, 3.0)), min_size=1, max_size=80)


def admitted(operation: Operation, gaps: list[float], *rule: float) -> list[float]:
    """When each request came that was let through."""
    state: State = operation.initial
    now, times = 50_000.0, []
    for gap in gaps:
        now += gap
        after, allowance, _ = operation.decide(state, now, *rule)
        if after is not None:
            state = after
        if allowance.allowed:
            times.append(now)
        else:
            assert allowance.retry_after > 0
            assert operation.decide(state, now + allowance.retry_after, *rule).result.allowed
            assert not operation.decide(state, now + allowance.retry_after * 0.99 - 1e-5, *rule).result.allowed
    return times


@settings(deadline=None, max_examples=200)
@given(GAPS, st.floats(0.1, 100), st.integers(1, 20))
def test_a_bucket_lets_through_what_its_definition_allows_and_nothing_less(
    gaps: list[float], rate: float, burst: int
) -> None:
    times = admitted(TAKE, gaps, rate, float(burst))
    for first in range(len(times)):
        for last in range(first, len(times)):
            assert last - first + 1 <= burst + rate * (times[last] - times[first]) + 1e-3
    # The naive reference: tokens added up step by step.
    tokens, before, now, expected = float(burst), 50_000.0, 50_000.0, []
    for gap in gaps:
        now += gap
        tokens = min(burst, tokens + (now - before) * rate)
        before = now
        if tokens + 1e-6 >= 1:
            tokens -= 1
            expected.append(now)
    assert times == expected


@settings(deadline=None, max_examples=200)
@given(GAPS, st.integers(1, 20), st.floats(0.5, 10))
def test_a_window_lets_at_most_twice_the_limit_through_in_any_window(
    gaps: list[float], limit: int, window: float
) -> None:
    times = admitted(HIT, gaps, float(limit), window)
    for first, start in enumerate(times):
        inside = sum(1 for time in times[first:] if time < start + window)
        assert inside <= 2 * limit


@settings(deadline=None)
@given(GAPS, st.integers(1, 20), st.floats(0.5, 10))
def test_a_window_never_refuses_while_two_windows_together_hold_less_than_the_limit(
    gaps: list[float], limit: int, window: float
) -> None:
    times = admitted(HIT, gaps, float(limit), window)
    now, refused = 50_000.0, []
    for gap in gaps:
        now += gap
        if now not in times:
            refused.append(now)
    for moment in refused:
        assert sum(1 for time in times if moment - 2 * window <= time <= moment) >= limit


@settings(deadline=None, max_examples=200)
@given(
    st.lists(
        st.tuples(st.sampled_from(["acquire", "renew", "release"]), st.integers(0, 5), st.floats(0, 4)), max_size=60
    )
)
def test_leases_are_never_held_by_more_than_the_limit(steps: list[tuple[str, int, float]]) -> None:
    limit, ttl = 3, 5.0
    state: State = ACQUIRE.initial
    now = 50_000.0
    held: dict[int, float] = {}  # the model: token -> deadline
    given_out: list[int] = []
    for verb, pick, gap in steps:
        now += gap
        held = {token: deadline for token, deadline in held.items() if deadline > now}
        token = given_out[pick % len(given_out)] if given_out else 1
        if verb == "acquire":
            after, grant, _ = ACQUIRE.decide(state, now, ttl, limit)
            assert bool(grant.token) == (len(held) < limit)
            if grant.token:
                assert all(grant.token > earlier for earlier in given_out)
                given_out.append(grant.token)
                held[grant.token] = now + ttl
        elif verb == "renew":
            after, known, _ = RENEW.decide(state, now, token, ttl)
            assert known == (token in held)
            if known:
                held[token] = now + ttl
        else:
            after, known, _ = RELEASE.decide(state, now, token)
            assert known == (token in held)
            held.pop(token, None)
        if after is not None:
            state = after
