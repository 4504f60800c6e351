from __future__ import annotations

from collections import Counter

from gateway.config.model import Service
from gateway.exchange import Exchange
from gateway.upstream.balancers.round_robin import RoundRobin, build, pick
from tests.unit.upstream.support import counting, instances

EXCHANGE = Exchange({"REQUEST_METHOD": "GET"}, "external")


def test_each_has_its_turn() -> None:
    among = instances(1, 1, 1)
    assert "".join(pick(among, n).id for n in range(7)) == "abcabca"


def test_weights_are_ignored() -> None:
    choose = build(Service(), cursor=counting()).prepare(instances(5, 1))
    assert "".join(choose(EXCHANGE).id for _ in range(4)) == "abab"


def test_it_stays_even_when_the_set_shrinks_and_grows() -> None:
    balancer = RoundRobin(counting())
    for among in (instances(1, 1, 1), instances(1, 1), instances(1, 1, 1, 1)):
        choose = balancer.prepare(among)
        counts = Counter(choose(EXCHANGE).id for _ in range(len(among) * 5))
        assert set(counts.values()) == {5}


def test_a_single_instance_needs_no_cursor() -> None:
    def never() -> int:
        raise AssertionError("asked")

    (only,) = instances(1)
    assert RoundRobin(never).prepare([only])(EXCHANGE) is only
