"""Smooth weighted round robin against its definition, and what is promised of the orders that are not written out."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.upstream.balancers.weighted_round_robin import Turns, smooth

weights = st.lists(st.integers(1, 12), min_size=1, max_size=9)


def definition(weights: list[int], turns: int) -> list[int]:
    """nginx, ngx_http_upstream_get_peer: each gains its weight, the first of the richest pays the sum of all."""
    wealth, total = [0] * len(weights), sum(weights)
    order = []
    for _ in range(turns):
        wealth = [have + weight for have, weight in zip(wealth, weights, strict=True)]
        best = wealth.index(max(wealth))
        wealth[best] -= total
        order.append(best)
    return order


@settings(deadline=None)
@given(weights)
def test_the_order_is_the_definition_s(weights: list[int]) -> None:
    assert list(smooth(weights)) == definition(weights, sum(weights))


@settings(deadline=None)
@given(weights, st.integers(1, 50), st.integers(0, 10**6))
def test_any_turn_is_the_definition_s_whatever_the_common_divisor(weights: list[int], factor: int, n: int) -> None:
    period = sum(weights)
    turns = Turns([weight * factor for weight in weights])
    assert turns.at(n) == definition(weights, period)[n % period]


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(1, 1_000_000), min_size=2, max_size=50), st.integers(0, 10**12))
def test_large_weights_get_their_shares_in_any_stretch(weights: list[int], start: int) -> None:
    turns, stretch, total = Turns(weights), 500, sum(weights)
    counts = Counter(turns.at(n) for n in range(start, start + stretch))
    assert counts.keys() <= set(range(len(weights)))
    for index, weight in enumerate(weights):
        assert abs(counts[index] - Fraction(weight * stretch, total)) <= 12
