"""What every balancer promises, by being in the folder."""

from __future__ import annotations

import timeit
from collections.abc import Sequence
from itertools import count

import pytest

from gateway import plugin
from gateway.config.model import BalancerName, Service
from gateway.exchange import Exchange
from gateway.state.registry import Instance
from gateway.upstream import balancers
from gateway.upstream.balancers import Balancer

KINDS = plugin.kinds(balancers)
EXCHANGE = Exchange({"REQUEST_METHOD": "GET"}, "external")


def make(kind: str) -> Balancer:
    made: Balancer = plugin.load(balancers, kind).build(Service(), cursor=count().__next__)
    return made


def among(number: int) -> Sequence[Instance]:
    return [
        Instance("echo", f"i{at}", f"http://10.0.{at // 250}.{at % 250}:80", weight=1 + at % 5) for at in range(number)
    ]


def test_the_folder_holds_what_the_configuration_knows() -> None:
    assert set(KINDS) <= set(BalancerName.__args__)  # type: ignore[attr-defined]
    assert "round_robin" in KINDS


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("number", [1, 2, 7, 100])
def test_it_picks_only_what_it_was_given(kind: str, number: int) -> None:
    instances = among(number)
    choose = make(kind).prepare(instances)
    assert {choose(EXCHANGE).id for _ in range(3 * number)} <= {one.id for one in instances}


@pytest.mark.parametrize("kind", KINDS)
def test_sets_do_not_disturb_each_other(kind: str) -> None:
    balancer = make(kind)
    all_of_them, some = among(5), among(2)
    first, second = balancer.prepare(all_of_them), balancer.prepare(some)
    for _ in range(20):
        assert first(EXCHANGE) in all_of_them
        assert second(EXCHANGE) in some


@pytest.mark.parametrize("kind", KINDS)
def test_choosing_among_a_thousand_costs_at_most_twice_choosing_among_ten(kind: str) -> None:
    def cost(number: int) -> float:
        choose = make(kind).prepare(among(number))
        return min(timeit.repeat(lambda: choose(EXCHANGE), number=2000, repeat=15))

    assert min(cost(1000) / cost(10) for _ in range(3)) <= 2.0
