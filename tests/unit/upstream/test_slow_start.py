from __future__ import annotations

import random
from collections import Counter

import pytest

from gateway import plugin
from gateway.config.model import Hash
from gateway.exchange import Exchange
from gateway.upstream import balancers, slow_start
from tests.unit.upstream.support import World, service

LENGTH = 10.0
PICKS = 4000


@pytest.fixture
def world(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> World:
    """Three instances that are settled; chance is seeded."""
    monkeypatch.setattr(slow_start.Ramp.__init__, "__kwdefaults__", {"chance": random.Random(7).random})
    hash = Hash(key="path") if request.param == "consistent_hash" else None
    made = World({"echo": service("a", "b", "c", slow_start=LENGTH, balancer=request.param, hash=hash, breaker=None)})
    made.reach(30)
    return made


def share(world: World) -> Counter[str]:
    choose = world.plan().choose
    assert choose is not None
    found: Counter[str] = Counter()
    for number in range(PICKS):
        exchange = Exchange({"REQUEST_METHOD": "GET"}, "external")
        exchange.path = f"/{number}"
        target = world.plan().targets[choose(exchange).key]
        world.inflight.requests[target.requests] += 1
        found[target.instance.id] += 1
    return found


@pytest.mark.parametrize("world", plugin.kinds(balancers), indirect=True)
def test_the_share_of_an_instance_that_came_grows_in_a_line_whatever_the_balancer(world: World) -> None:
    world.register("echo", "n")
    whole = PICKS / 4 if world.plan().eligible.view.settings.balancer != "consistent_hash" else None
    for step in range(5):
        found = share(world)
        if whole is None:  # its share of the keys, which is about a quarter
            whole = PICKS / 4
            assert found["n"] == 0
        assert found["n"] == pytest.approx(whole * step / 4, abs=PICKS / 25)
        assert sum(found.values()) == PICKS
        world.clock.advance(LENGTH / 4)
    world.clock.advance(1.0)
    assert share(world)["n"] == pytest.approx(PICKS / 4, abs=PICKS / 25)


@pytest.mark.parametrize("world", ["least_connections", "least_requests", "random_two"], indirect=True)
def test_one_in_slow_start_that_failed_a_request_is_not_drawn_for_it_again(world: World) -> None:
    world.register("echo", "n")
    world.clock.advance(0.9 * LENGTH)
    choose = world.plan().choose
    assert choose is not None
    exchange = Exchange({"REQUEST_METHOD": "GET"}, "external")
    exchange.tried = ("echo/n@http://n.test:80",)
    assert "n" not in {choose(exchange).id for _ in range(200)}
