"""Least connections against its definition, over any schedule of requests, ends and changes of the set."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.exchange import Exchange
from gateway.upstream.balancers.least_connections import LeastConnections
from tests.unit.upstream.balancers.support import FakeLoads
from tests.unit.upstream.support import counting, instances

EXCHANGE = Exchange({"REQUEST_METHOD": "GET"}, "external")

begin, end, change = st.just(("begin", 0)), st.tuples(st.just("end"), st.integers(0, 10**6)), st.integers(0, 2**9)
steps = st.lists(st.one_of(begin, begin, end, st.tuples(st.just("change"), change)), max_size=80)


@settings(deadline=None)
@given(st.lists(st.one_of(st.integers(1, 5), st.integers(1, 1_000_000)), min_size=1, max_size=9), steps)
def test_a_busier_instance_than_the_idlest_is_never_picked(weights: list[int], schedule: list[tuple[str, int]]) -> None:
    loads, everyone = FakeLoads(), instances(*weights)
    balancer = LeastConnections(counting(), loads)
    present, choose = everyone, balancer.prepare(everyone)
    flying: list[str] = []
    for step, number in schedule:
        if step == "change":
            present = [one for at, one in enumerate(everyone) if number >> at & 1] or everyone
            choose = balancer.prepare(present)
        elif step == "begin":
            found = choose(EXCHANGE)
            busy = {one.id: Fraction(flying.count(one.id), one.weight) for one in present}
            assert busy[found.id] == min(busy.values())
            flying.append(found.id)
        elif flying:
            flying.pop(number % len(flying))
        loads.counts = {one.id: flying.count(one.id) for one in everyone}


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(1, 9), min_size=2, max_size=6), st.integers(1, 40))
def test_an_idle_service_is_shared_by_weight(weights: list[int], rounds: int) -> None:
    choose = LeastConnections(counting(), FakeLoads()).prepare(instances(*weights))
    turns = [choose(EXCHANGE).id for _ in range(rounds * sum(weights))]
    for one in instances(*weights):
        assert turns.count(one.id) == rounds * one.weight
