from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.config.model import Breaker
from gateway.upstream import eligible as module
from tests.unit.upstream.support import World, answer, service

SERVICES = {"echo": service("a", "b", "c"), "other": service("x")}


@pytest.fixture
def world() -> World:
    return World(SERVICES)


def ids(world: World, name: str = "echo") -> str:
    return "".join(target.instance.id for target in world.set(name).targets.values())


def fail(world: World, id: str, times: int = 5) -> None:
    target = world.set().all_targets[f"echo/{id}@http://{id}.test:80"]
    for _ in range(times):
        permit = target.breaker.allow() if target.breaker else None
        assert permit is not None
        permit.done(False)


def test_all_instances_of_a_healthy_service_may_be_picked_in_their_order(world: World) -> None:
    assert ids(world) == "abc"


def test_a_service_that_nobody_knows_has_no_set(world: World) -> None:
    assert world.eligible.of("nobody", world.clock.monotonic()) is None


def test_a_service_without_instances_has_an_empty_one() -> None:
    world = World({"echo": service()})
    assert (world.set().targets, world.plan().choose) == ({}, None)


def test_the_same_set_is_given_out_while_nothing_changes(world: World) -> None:
    first = world.set()
    world.clock.advance(3600.0)
    fail(world, "a", 4)
    assert world.set() is first


def test_an_open_instance_is_left_out_until_it_is_half_open(world: World) -> None:
    fail(world, "b")
    assert ids(world) == "ac"
    world.clock.advance(29.9)
    assert ids(world) == "ac"
    world.clock.advance(0.1)
    assert ids(world) == "abc"


def test_the_set_ends_with_the_earliest_of_the_open_ones(world: World) -> None:
    fail(world, "a")
    world.clock.advance(10.0)
    fail(world, "b")
    assert world.set().until == pytest.approx(world.clock.monotonic() + 20.0)


def test_every_worker_leaves_out_what_one_has_seen_fail(world: World) -> None:
    other = world.worker(SERVICES)
    assert ids(other) == "abc"
    fail(world, "b")
    assert ids(other) == "ac"


def test_a_service_without_breaker_is_never_filtered() -> None:
    world = World({"echo": service("a", "b", breaker=None)})
    world.backends = {"a": answer(500), "b": answer(500)}
    world.reach(40)
    assert ids(world) == "ab"


def test_what_registers_joins_and_leaves_with_its_lease(world: World) -> None:
    assert ids(world) == "abc"
    world.register("echo", "d", ttl=5.0)
    assert ids(world) == "abcd"
    world.clock.advance(5.1)
    assert ids(world) == "abc"


def test_a_renewed_lease_keeps_targets_and_order(world: World) -> None:
    world.register("echo", "d", ttl=5.0)
    first = world.plan()
    world.clock.advance(3.0)
    world.register("echo", "d", ttl=5.0)
    renewed = world.plan()
    assert renewed is not first
    assert (list(renewed.targets.values()), renewed.choose) == (list(first.targets.values()), first.choose)
    world.clock.advance(4.0)
    assert ids(world) == "abcd"


def test_one_that_went_and_came_back_is_counted_anew(world: World) -> None:
    world.register("echo", "d")
    before = world.set().targets["echo/d@http://d.test:80"]
    world.registry.deregister("echo", "d")
    world.clock.advance(1.0)
    world.register("echo", "d")
    after = world.set().targets["echo/d@http://d.test:80"]
    assert (after.in_flight, after.requests) != (before.in_flight, before.requests)


def test_another_weight_is_another_target(world: World) -> None:
    world.register("echo", "d", weight=1)
    before = world.plan()
    world.register("echo", "d", weight=2)
    assert world.set().targets["echo/d@http://d.test:80"].instance.weight == 2
    assert world.plan().choose is not before.choose


def test_a_half_open_instance_may_be_picked_whether_or_not_a_probe_is_free(world: World) -> None:
    fail(world, "b")
    world.clock.advance(30.0)
    target = world.set().targets["echo/b@http://b.test:80"]
    assert target.breaker is not None
    while target.breaker.allow() is not None:
        pass
    assert ids(world) == "abc"


def test_state_is_kept_over_a_reload_by_identity() -> None:
    world = World(SERVICES)
    fail(world, "b")
    changed = replace(service("b", "z"), breaker=Breaker(open_for=5.0))
    reloaded = world.worker({"echo": changed})
    assert ids(reloaded) == "z"
    world.clock.advance(5.0)
    assert (ids(reloaded), ids(world)) == ("bz", "ac")


def test_sets_of_services_that_went_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_KEPT", 3)
    world = World({f"s{number}": service("a") for number in range(10)})
    for number in range(10):
        world.set(f"s{number}")
    assert len(world.eligible._kept) == 3
    assert ids(world, "s0") == "a"
