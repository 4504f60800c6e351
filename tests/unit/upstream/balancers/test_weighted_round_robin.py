from __future__ import annotations

from collections import Counter

import pytest

from gateway.config.model import Service
from gateway.exchange import Exchange
from gateway.upstream.balancers.weighted_round_robin import MAX_PERIOD, Turns, WeightedRoundRobin, build
from tests.unit.upstream.support import counting, instances

EXCHANGE = Exchange({"REQUEST_METHOD": "GET"}, "external")


def ids(*weights: int, times: int) -> str:
    choose = build(Service(balancer="weighted_round_robin"), cursor=counting()).prepare(instances(*weights))
    return "".join(choose(EXCHANGE).id for _ in range(times))


def test_the_order_is_the_smooth_one() -> None:
    assert ids(5, 1, 1, times=14) == "aabacaa" * 2


def test_equal_weights_are_round_robin() -> None:
    assert ids(7, 7, 7, times=6) == "abcabc"


def test_common_divisors_do_not_lengthen_the_period() -> None:
    assert Turns([500_000, 100_000, 100_000]).period == 7
    assert ids(500_000, 100_000, 100_000, times=7) == "aabacaa"


def test_the_place_in_the_order_is_the_cursor_s_so_handles_of_other_workers_continue_it() -> None:
    cursor = counting()
    workers = [WeightedRoundRobin(cursor).prepare(instances(5, 1, 1)) for _ in range(3)]
    assert "".join(workers[turn % 3](EXCHANGE).id for turn in range(7)) == "aabacaa"


@pytest.mark.parametrize(
    "weights",
    [
        [30_000, 1],  # a period too long to write out
        [1_000_000, 999_999, 7],
        list(range(1, 400)),  # as long, with too many different weights
    ],
)
def test_a_period_that_is_not_written_out_still_gives_exact_shares(weights: list[int]) -> None:
    turns = Turns(weights)
    assert turns.period == sum(weights)
    assert turns._order == ()
    if turns.period < 100_000:
        counts = Counter(turns.at(n) for n in range(turns.period))
        assert [counts[index] for index in range(len(weights))] == weights


def test_a_period_that_is_not_written_out_is_spread_too() -> None:
    turns = Turns([300_000, 200_001, 100_000])
    for start in (0, 12_345, 10**9):
        counts = Counter(turns.at(n) for n in range(start, start + 600))
        assert all(abs(counts[index] - share) <= 6 for index, share in enumerate((300, 200, 100)))


def test_memory_is_bounded_whatever_the_weights() -> None:
    turns = Turns([1_000_000 - index for index in range(1000)])
    assert len(turns._order) <= MAX_PERIOD
    assert len(turns._ends) == 1000


def test_a_single_instance_needs_no_cursor() -> None:
    def never() -> int:
        raise AssertionError("asked")

    (only,) = instances(3)
    assert WeightedRoundRobin(never).prepare([only])(EXCHANGE) is only
