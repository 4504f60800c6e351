from __future__ import annotations

from collections import Counter

from gateway.config.model import Service
from gateway.upstream.balancers.least_connections import LeastConnections, build
from tests.unit.upstream.balancers.support import FakeLoads, exchange, tried
from tests.unit.upstream.support import counting, instances

EXCHANGE = exchange()


def ids(loads: FakeLoads, *weights: int, times: int = 1) -> str:
    choose = LeastConnections(counting(), loads).prepare(instances(*weights))
    return "".join(choose(EXCHANGE).id for _ in range(times))


def test_the_idlest_is_picked() -> None:
    assert ids(FakeLoads(a=2, b=1, c=3), 1, 1, 1) == "b"


def test_what_counts_is_in_flight_for_each_unit_of_weight() -> None:
    assert ids(FakeLoads(a=4, b=1), 5, 1) == "a"
    assert ids(FakeLoads(a=6, b=1), 5, 1) == "b"


def test_an_idle_service_takes_turns() -> None:
    assert ids(FakeLoads(), 1, 1, 1, times=6) == "abcabc"


def test_an_idle_service_takes_turns_by_weight() -> None:
    assert ids(FakeLoads(), 5, 1, 1, times=14) == "aabacaa" * 2


def test_some_that_tie_share_by_weight_whatever_makes_them_tie() -> None:
    loads = FakeLoads(c=1)
    choose = LeastConnections(counting(), loads).prepare(instances(1, 3, 1))
    assert Counter(choose(EXCHANGE).id for _ in range(400)).keys() == {"a", "b"}
    counts = Counter[str]()
    for turn in range(800):  # every second pick finds all of them equal
        loads.counts = {"c": turn % 2}
        found = choose(EXCHANGE).id
        if turn % 2:
            counts[found] += 1
    assert abs(counts["b"] - 300) <= 4


def test_equal_ones_that_tie_at_every_second_turn_still_take_turns() -> None:
    loads = FakeLoads()
    choose = LeastConnections(counting(), loads).prepare(instances(1, 1, 1))
    counts = Counter[str]()
    for turn in range(400):
        loads.counts = {"c": turn % 2}
        found = choose(EXCHANGE).id
        if turn % 2:
            counts[found] += 1
    assert abs(counts["a"] - 100) <= 4
    assert abs(counts["b"] - 100) <= 4


def test_one_that_failed_the_request_is_passed_over_although_it_is_the_idlest() -> None:
    one, two, three = instances(1, 1, 1)
    choose = LeastConnections(counting(), FakeLoads(b=5, c=6)).prepare([one, two, three])
    assert choose(tried(one)) is two
    assert choose(tried(one, two)) is three
    assert choose(tried(one, two, three)) in (one, two, three)


def test_keys_that_are_not_in_the_set_do_no_harm() -> None:
    one, two, three = instances(1, 1, 1)
    choose = LeastConnections(counting(), FakeLoads(a=1)).prepare([one, two])
    assert choose(tried(three)) is two


def test_a_single_instance_is_not_looked_at() -> None:
    loads = FakeLoads()
    (only,) = instances(1)
    assert build(Service(), cursor=counting(), loads=loads).prepare([only])(EXCHANGE) is only
    assert loads.read == []
