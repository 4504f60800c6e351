from __future__ import annotations

import random
from collections import Counter

import pytest

from gateway.exchange import Exchange
from gateway.upstream.balancers._spare import spare
from gateway.upstream.balancers.round_robin import RoundRobin
from gateway.upstream.balancers.weighted_round_robin import WeightedRoundRobin
from tests.unit.upstream.support import counting, instances

AMONG = instances(1, 1, 6)
KEYS = {one.id: one.key for one in AMONG}


def tried(*ids: str) -> Exchange:
    exchange = Exchange({"REQUEST_METHOD": "GET"}, "external")
    exchange.tried = tuple(KEYS[id] for id in ids)
    return exchange


@pytest.mark.parametrize(("weighted", "share"), [(False, 0.5), (True, 6 / 7)])
def test_a_spare_is_drawn_among_those_that_have_not_failed_the_request(weighted: bool, share: float) -> None:
    uniform = random.Random(7).random
    found = Counter(spare(AMONG, tried("a"), weighted=weighted, uniform=uniform).id for _ in range(4000))
    assert found["a"] == 0
    assert found["c"] / 4000 == pytest.approx(share, abs=0.03)


@pytest.mark.parametrize("weighted", [False, True])
def test_when_all_have_failed_it_any_will_do(weighted: bool) -> None:
    assert spare(AMONG, tried("a", "b", "c"), weighted=weighted) in AMONG


@pytest.mark.parametrize("kind", [RoundRobin, WeightedRoundRobin])
def test_a_spare_takes_nobody_s_turn(kind: type[RoundRobin | WeightedRoundRobin]) -> None:
    """Two instances, one broken: only every other request begins there."""
    choose = kind(counting()).prepare(AMONG[:2])
    first = []
    for _ in range(6):
        first.append(choose(tried()).id)
        if first[-1] == "a":
            assert choose(tried("a")).id == "b"
    assert "".join(first) == "ababab"
