from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import structlog

from gateway.clock import FakeClock
from gateway.config.model import Defaults, Instance, Pool, Service, Timeouts
from gateway.errors import RegistrationOff, StaticInstance, StoreFull
from gateway.state.engines.memory import MemoryEngine
from gateway.state.registration import Registration
from gateway.state.registry import Registry, key_of

DEFAULTS = Defaults(timeouts=Timeouts(connect=2.0), pool=Pool(max_connections=7))
ECHO = Service(instances=(Instance(id="inst-1", url="http://127.0.0.1:8081", weight=3, zone="a", tags=("blue",)),))


class World:
    def __init__(self, services: Mapping[str, Service] | None = None) -> None:
        self.clock = FakeClock()
        self.engine = MemoryEngine(1 << 20, self.clock)
        self.gone: list[str] = []
        self.services = {"echo": ECHO} if services is None else services
        self.registry = self.worker()

    def worker(self) -> Registry:
        """What another worker has: the same engine, its own memory."""
        return Registry(self.engine, self.clock, self.services, DEFAULTS, gone=self.gone.append)

    def register(
        self, service: str = "echo", id: str = "inst-9", addr: str = "http://10.0.0.9:80", **more: Any
    ) -> None:
        self.registry.register(Registration(service=service, id=id, addr=addr, **more))

    def ids(self, service: str = "echo", registry: Registry | None = None) -> list[str]:
        view = (registry or self.registry).snapshot().services.get(service)
        return [] if view is None else [instance.id for instance in view.instances]


@pytest.fixture
def world() -> World:
    return World()


def test_instances_of_the_configuration_are_there_with_all_they_say(world: World) -> None:
    view = world.registry.snapshot().services["echo"]
    (instance,) = view.instances
    assert (instance.service, instance.id, instance.url) == ("echo", "inst-1", "http://127.0.0.1:8081")
    assert (instance.source, instance.weight, instance.zone, instance.tags) == ("static", 3, "a", ("blue",))
    assert (instance.expires, instance.key) == (None, "echo/inst-1@http://127.0.0.1:8081")
    assert (view.name, view.settings, view.configured) == ("echo", ECHO, True)


def test_a_registration_is_seen_by_every_worker_at_once(world: World) -> None:
    other = world.worker()
    assert world.ids(registry=other) == ["inst-1"]
    world.register(weight=5, zone="b", tags=("canary",))
    assert world.ids(registry=other) == ["inst-1", "inst-9"]
    instance = other.snapshot().services["echo"].instances[1]
    assert (instance.url, instance.source, instance.weight) == ("http://10.0.0.9:80", "registered", 5)
    assert (instance.zone, instance.tags, instance.expires) == ("b", ("canary",), None)
    assert instance.key == key_of("echo", "inst-9", "http://10.0.0.9:80")


def test_a_registration_outlives_its_worker(world: World) -> None:
    world.register()
    assert world.ids(registry=world.worker()) == ["inst-1", "inst-9"]


def test_a_service_that_the_configuration_does_not_name_gets_the_defaults(world: World) -> None:
    world.register(service="other")
    world.register(service="another")
    views = world.registry.snapshot().services
    assert list(views) == ["echo", "another", "other"]
    assert views["other"].settings == Service(timeouts=Timeouts(connect=2.0), pool=Pool(max_connections=7))
    assert views["other"].settings is views["another"].settings
    assert not views["other"].configured


def test_a_service_of_the_configuration_stays_without_instances() -> None:
    world = World({"empty": Service()})
    world.register(service="other")
    world.registry.deregister("other", "inst-9")
    assert {name: view.instances for name, view in world.registry.snapshot().services.items()} == {"empty": ()}


def test_the_order_is_the_configuration_s_then_by_id_whatever_came_first(world: World) -> None:
    for id in ("c", "a", "b"):
        world.register(id=id)
    assert world.ids() == world.ids(registry=world.worker()) == ["inst-1", "a", "b", "c"]


def test_the_same_snapshot_is_given_out_while_nothing_changes(world: World) -> None:
    before = world.registry.snapshot()
    world.engine.put("elsewhere/x", b"")
    assert world.registry.snapshot() is before
    world.register(service="other")
    after = world.registry.snapshot()
    assert after is not before
    assert after.version > before.version


def test_only_services_that_changed_get_a_new_view(world: World) -> None:
    world.register(service="other")
    before = world.registry.snapshot().services
    world.register(service="other", id="inst-10")
    after = world.registry.snapshot().services
    assert after["echo"] is before["echo"]
    assert after["other"] is not before["other"]
    assert after["other"].version > before["other"].version


def test_snapshots_do_not_change_under_their_reader(world: World) -> None:
    before = world.registry.snapshot()
    world.register()
    world.registry.snapshot()
    assert len(before.services["echo"].instances) == 1
    with pytest.raises(TypeError):
        before.services["echo"] = before.services["echo"]  # type: ignore[index]


def test_registering_again_replaces(world: World) -> None:
    world.register(weight=5)
    world.register(weight=2)
    (_, instance) = world.registry.snapshot().services["echo"].instances
    assert instance.weight == 2
    assert world.gone == []


def test_an_id_at_another_address_is_another_instance(world: World) -> None:
    world.register()
    world.register(addr="http://10.0.0.10:80")
    assert world.ids() == ["inst-1", "inst-9"]
    assert world.gone == ["echo/inst-9@http://10.0.0.9:80"]


def test_deregistering_removes_at_every_worker(world: World) -> None:
    other = world.worker()
    world.register()
    assert world.ids(registry=other) == ["inst-1", "inst-9"]
    assert world.registry.deregister("echo", "inst-9")
    assert world.ids(registry=other) == ["inst-1"]
    assert world.gone == ["echo/inst-9@http://10.0.0.9:80"]


def test_deregistering_what_is_not_there_is_no_error(world: World) -> None:
    assert not world.registry.deregister("echo", "inst-9")
    assert not world.registry.deregister("nobody", "inst-9")
    assert world.gone == []


def test_ids_of_the_configuration_are_not_touched(world: World) -> None:
    with pytest.raises(StaticInstance) as refused:
        world.register(id="inst-1")
    assert (refused.value.service, refused.value.instance) == ("echo", "inst-1")
    with pytest.raises(StaticInstance):
        world.registry.deregister("echo", "inst-1")
    world.register(service="other", id="inst-1")  # somebody else's inst-1
    assert world.ids("other") == ["inst-1"]


def test_an_id_that_the_configuration_took_over_is_the_configuration_s(world: World) -> None:
    world.register()
    world.services = {"echo": replace(ECHO, instances=(Instance(id="inst-9", url="http://127.0.0.1:1"),))}
    (instance,) = world.worker().snapshot().services["echo"].instances
    assert instance.source == "static"


def test_a_service_may_take_no_registrations_over_http_and_yet_in_code() -> None:
    world = World({"closed": Service(registration="off")})
    with pytest.raises(RegistrationOff) as refused:
        world.register(service="closed")
    assert refused.value.service == "closed"
    world.registry.register(Registration(service="closed", id="a", addr="http://10.0.0.1"), in_code=True)
    assert world.ids("closed") == ["a"]


def test_fallback_instances_serve_only_while_nobody_registered() -> None:
    world = World({"echo": replace(ECHO, static="fallback")})
    assert world.ids() == ["inst-1"]
    world.register(ttl=10.0)
    assert world.ids() == ["inst-9"]
    world.clock.advance(10.0)
    assert world.ids() == ["inst-1"]
    with pytest.raises(StaticInstance):
        world.register(id="inst-1")


# --- leases ----------------------------------------------------------------------------------------------------------
def test_a_lease_ends_without_anyone_s_doing(world: World) -> None:
    other = world.worker()
    world.register(ttl=30.0)
    (_, instance) = other.snapshot().services["echo"].instances
    assert instance.expires == pytest.approx(world.clock.monotonic() + 30.0)
    world.clock.advance(29.9)
    assert world.ids(registry=other) == ["inst-1", "inst-9"]
    world.clock.advance(0.2)
    assert world.ids(registry=other) == ["inst-1"]


def test_registering_again_renews_the_lease(world: World) -> None:
    world.register(ttl=30.0)
    for _ in range(3):
        world.clock.advance(20.0)
        world.register(ttl=30.0)
        (_, instance) = world.registry.snapshot().services["echo"].instances
        assert instance.expires == pytest.approx(world.clock.monotonic() + 30.0)
    since = instance.since
    assert since == 1_700_000_000.0  # it never went


def test_registering_again_without_ttl_makes_it_stay(world: World) -> None:
    world.register(ttl=30.0)
    world.register()
    world.clock.advance(86_400.0 * 365)
    assert world.ids() == ["inst-1", "inst-9"]


def test_one_that_comes_back_after_its_lease_is_new(world: World) -> None:
    world.register(ttl=30.0)
    (_, before) = world.registry.snapshot().services["echo"].instances
    world.clock.advance(31.0)
    world.register(ttl=30.0)
    (_, after) = world.registry.snapshot().services["echo"].instances
    assert after.since == before.since + 31.0


@pytest.mark.parametrize("step", [-3600.0, 3600.0])
def test_a_wall_clock_that_is_set_does_not_end_or_stretch_a_lease(world: World, step: float) -> None:
    world.register(ttl=30.0)
    world.clock.advance(10.0)
    world.clock._wall += step
    other = world.worker()
    assert world.ids(registry=other) == ["inst-1", "inst-9"]
    world.clock.advance(19.0)
    assert world.ids(registry=other) == ["inst-1", "inst-9"]
    world.clock.advance(11.0)  # the lease ended 10 s ago; one told wrongly is at most its own length late
    assert world.ids(registry=other) == ["inst-1"]


# --- what becomes of state -------------------------------------------------------------------------------------------
def test_the_state_of_an_instance_whose_lease_ended_is_swept(world: World) -> None:
    world.register(ttl=30.0)
    assert world.registry.sweep() == 0
    world.clock.advance(31.0)
    assert world.registry.sweep() == 1
    assert world.gone == ["echo/inst-9@http://10.0.0.9:80"]
    assert world.registry.sweep() == 0


def test_every_worker_notices_what_another_removed(world: World) -> None:
    other = world.worker()
    world.register()
    other.sweep()
    world.registry.deregister("echo", "inst-9")
    assert other.sweep() == 1


def test_the_first_sweep_of_a_new_worker_forgets_nothing(world: World) -> None:
    world.register()
    assert world.worker().sweep() == 0
    assert world.gone == []


def test_instances_of_the_configuration_keep_their_state_while_others_stand_in() -> None:
    world = World({"echo": replace(ECHO, static="fallback")})
    world.registry.sweep()
    world.register()
    assert world.registry.sweep() == 0


# --- trouble ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("raw", [b"", b"[]", b"{}", b'{"url":1}', json.dumps({"url": "http://x:1"}).encode()])
def test_a_document_that_cannot_be_read_is_logged_and_passed_over(world: World, raw: bytes) -> None:
    world.register(id="good")
    world.engine.put("registry/echo/bad", raw)
    with structlog.testing.capture_logs() as lines:
        assert world.ids() == ["inst-1", "good"]
    assert [(line["event"], line["service"], line["instance"]) for line in lines] == [
        ("registration_unreadable", "echo", "bad")
    ]
    world.register(id="bad")
    assert world.ids() == ["inst-1", "bad", "good"]
    world.engine.put("registry/echo/bad", raw)
    assert world.registry.deregister("echo", "bad")


def test_a_full_store_refuses_and_keeps_what_was(world: World) -> None:
    world.engine = MemoryEngine(300, world.clock)
    world.registry = world.worker()
    world.register()
    with pytest.raises(StoreFull):
        world.register(id="inst-10")
    assert world.ids() == ["inst-1", "inst-9"]


def test_its_repr_tells_what_it_holds(world: World) -> None:
    world.register()
    world.registry.snapshot()
    assert repr(world.registry) == "Registry(echo: 2)"
