from __future__ import annotations

import random
from collections import Counter
from itertools import accumulate, cycle

import pytest

from gateway.config.model import Service
from gateway.upstream.balancers.random_two import RandomTwo, build, equal_pair, weighted_pair
from tests.unit.upstream.balancers.support import FakeLoads, exchange, tried
from tests.unit.upstream.support import instances

EXCHANGE = exchange()


def uniform() -> random.Random:
    return random.Random(7)


def test_the_two_are_different_and_every_pair_is_as_likely() -> None:
    source = uniform().random
    pairs = Counter(equal_pair(4, source) for _ in range(12_000))
    assert len(pairs) == 12
    assert all(abs(count - 1000) < 120 for count in pairs.values())


@pytest.mark.parametrize("weights", [[1, 2], [5, 1, 1], [1, 1, 6, 2]])
def test_weighted_ones_are_drawn_without_replacement(weights: list[int]) -> None:
    source, ends, total, draws = uniform().random, list(accumulate(weights)), sum(weights), 20_000
    pairs = Counter(weighted_pair(ends, source) for _ in range(draws))
    for one, mine in enumerate(weights):
        for other, its in enumerate(weights):
            expected = 0 if one == other else draws * mine / total * its / (total - mine)
            assert abs(pairs[one, other] - expected) <= 5 * expected**0.5


@pytest.mark.parametrize("highest", [0.0, 1 - 2**-53])
def test_the_ends_of_chance_stay_within(highest: float) -> None:
    assert set(equal_pair(3, lambda: highest)) <= {0, 1, 2}
    first, second = weighted_pair([5, 6, 9], lambda: highest)
    assert first != second
    assert {first, second} <= {0, 1, 2}


def test_the_less_busy_of_the_two_is_picked_by_weight() -> None:
    choose = RandomTwo(FakeLoads(a=9, b=2), uniform().random).prepare(instances(5, 1))
    assert {choose(EXCHANGE).id for _ in range(20)} == {"a"}
    choose = RandomTwo(FakeLoads(a=11, b=2), uniform().random).prepare(instances(5, 1))
    assert {choose(EXCHANGE).id for _ in range(20)} == {"b"}


def test_the_busiest_is_never_picked() -> None:
    choose = RandomTwo(FakeLoads(c=1), uniform().random).prepare(instances(1, 1, 1, 1))
    assert {choose(EXCHANGE).id for _ in range(100)} == {"a", "b", "d"}


def test_an_idle_service_is_served_by_weight() -> None:
    choose = RandomTwo(FakeLoads(), uniform().random).prepare(instances(6, 3, 1))
    counts = Counter(choose(EXCHANGE).id for _ in range(10_000))
    assert all(abs(counts[id] - share) < 250 for id, share in (("a", 6000), ("b", 3000), ("c", 1000)))


def test_only_the_two_that_were_drawn_are_looked_at() -> None:
    loads = FakeLoads()
    choose = RandomTwo(loads, uniform().random).prepare(instances(*[1] * 20))
    for _ in range(50):
        choose(EXCHANGE)
    assert len(loads.read) == 100


def test_one_that_failed_the_request_is_drawn_anew() -> None:
    among = instances(1, 1, 1)
    choose = RandomTwo(FakeLoads(c=9), uniform().random).prepare(among)
    assert {choose(tried(among[0])).id for _ in range(40)} == {"b", "c"}
    assert {choose(tried(*among[:2])).id for _ in range(40)} == {"c"}
    assert {choose(tried(*among)).id for _ in range(40)} <= {"a", "b", "c"}


def test_chance_that_stands_still_does_not_hang() -> None:
    among = instances(1, 1, 1)
    choose = RandomTwo(FakeLoads(), cycle([0.0]).__next__).prepare(among)
    assert choose(tried(*among[:2])) in among


def test_a_single_instance_is_not_looked_at() -> None:
    loads = FakeLoads()
    (only,) = instances(1)
    assert build(Service(), loads=loads).prepare([only])(EXCHANGE) is only
    assert loads.read == []
