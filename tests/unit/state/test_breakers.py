from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import structlog

from gateway.clock import FakeClock
from gateway.config.model import Breaker as Settings
from gateway.errors import StoreFull
from gateway.state import breakers as module
from gateway.state.breakers import Breaker, Breakers, Event, Permit
from gateway.state.engines.memory import MemoryEngine
from gateway.state.registry import TOPIC, Instance

SETTINGS = Settings()
INSTANCE = Instance("echo", "inst-1", "http://127.0.0.1:8081")


class World:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.engine = MemoryEngine(1 << 20, self.clock)
        self.events: list[Event] = []
        self.breakers = Breakers(self.engine, self.clock, [self.events.append])

    def breaker(self, settings: Settings = SETTINGS, instance: Instance = INSTANCE) -> Breaker:
        """Another handle, as another worker has one."""
        breaker = self.breakers.of(instance, settings)
        assert breaker is not None
        return breaker

    def names(self) -> list[str]:
        return [event.name for event in self.events]


@pytest.fixture
def world() -> World:
    return World()


def admitted(breaker: Breaker) -> Permit:
    permit = breaker.allow()
    assert permit is not None
    return permit


def fail(breaker: Breaker, times: int = 5) -> None:
    for _ in range(times):
        admitted(breaker).done(False)


def test_a_service_without_breaker_has_none(world: World) -> None:
    assert world.breakers.of(INSTANCE, None) is None


def test_five_failures_reach_the_instance_then_none(world: World) -> None:
    one, other = world.breaker(), world.breaker()
    reached = 0
    for breaker in (one, other) * 10:
        permit = breaker.allow()
        if permit is not None:
            reached += 1
            permit.done(False)
    assert reached == 5


def test_requests_in_flight_when_it_opens_change_nothing(world: World) -> None:
    breaker = world.breaker()
    in_flight = [admitted(breaker) for _ in range(8)]
    for permit in in_flight:
        permit.done(False)
    assert world.names() == ["failure"] * 4 + ["opened"]
    in_flight[0].done(True)
    assert breaker.allow() is None


def test_a_success_that_another_worker_saw_takes_the_failures_back(world: World) -> None:
    one, other = world.breaker(), world.breaker()
    permit = admitted(other)  # from before the failures
    fail(one, 4)
    permit.done(True)
    fail(one, 4)
    assert one.allow() is not None


def test_healthy_traffic_writes_nothing(world: World) -> None:
    breaker = world.breaker()
    stamp = breaker.record.stamp()
    for _ in range(3):
        admitted(breaker).done(True)
        admitted(breaker).done(None)
    assert breaker.record.stamp() == stamp
    assert admitted(breaker) is admitted(breaker)  # nothing is allocated either


def test_the_fast_path_is_found_again_after_it_closed(world: World) -> None:
    breaker = world.breaker()
    fail(breaker)
    world.clock.advance(30.0)
    for _ in range(3):
        admitted(breaker).done(True)
    assert admitted(breaker) is admitted(breaker)
    fail(breaker, 4)
    admitted(breaker).done(True)
    assert admitted(breaker) is admitted(breaker)


def test_all_events_are_told_with_their_numbers(world: World) -> None:
    breaker = world.breaker(replace(SETTINGS, failures=2, open_for=7.0, half_open_probes=1))
    fail(breaker, 2)
    world.clock.advance(7.0)
    admitted(breaker).done(False)
    world.clock.advance(7.0)
    admitted(breaker).done(True)
    assert world.names() == ["failure", "opened", "half_open", "opened", "half_open", "closed"]
    start = 1_700_000_000.0
    assert world.events[0] == Event("failure", "echo", "inst-1", start, 1, 2, 7.0)
    assert world.events[1] == Event("opened", "echo", "inst-1", start, 2, 2, 7.0)
    assert world.events[5] == Event("closed", "echo", "inst-1", start + 14.0, 0, 2, 7.0)


def test_the_registry_s_version_changes_with_each_transition_and_with_nothing_else(world: World) -> None:
    breaker = world.breaker()
    before = world.engine.version(TOPIC)
    fail(breaker, 4)
    assert world.engine.version(TOPIC) == before
    fail(breaker, 1)
    opened = world.engine.version(TOPIC)
    assert opened != before
    assert breaker.allow() is None
    assert world.engine.version(TOPIC) == opened


def test_listeners_are_called_when_the_decision_is_made_and_may_ask_the_breaker(world: World) -> None:
    seen: list[Any] = []
    breakers = Breakers(world.engine, world.clock, [lambda event: seen.append(breaker.status(1000.0).state)])
    found = breakers.of(INSTANCE, replace(SETTINGS, failures=1))
    assert found is not None
    breaker = found
    fail(breaker, 1)
    assert seen == ["open"]


def test_asking_when_it_may_be_picked_leases_no_probe(world: World) -> None:
    breaker = world.breaker()
    now = world.clock.monotonic()
    assert breaker.open_until(now) == 0.0
    fail(breaker)
    assert breaker.open_until(now) == now + 30.0
    world.clock.advance(30.0)
    assert [breaker.open_until(now + 30.0) for _ in range(10)] == [0.0] * 10
    assert [breaker.allow() is not None for _ in range(4)] == [True, True, True, False]
    assert breaker.open_until(now + 30.0) == 0.0


def test_its_standing_can_be_read(world: World) -> None:
    breaker = world.breaker()
    now = world.clock.monotonic()
    assert breaker.status(now) == module.Status("closed", 0, 0, None, None)
    fail(breaker)
    assert breaker.status(now) == module.Status("open", 1, 5, now, now + 30.0)
    assert breaker.status(now + 30.0).state == "half_open"
    assert repr(breaker) == "Breaker('echo/inst-1@http://127.0.0.1:8081', open, generation=1, failures=5, successes=0)"


def test_state_belongs_to_service_id_and_address(world: World) -> None:
    fail(world.breaker())
    assert world.breaker(instance=replace(INSTANCE, weight=7, zone="b")).allow() is None
    assert world.breaker(instance=Instance("echo", "inst-1", "http://127.0.0.1:9")).allow() is not None


def test_an_instance_that_was_forgotten_starts_afresh(world: World) -> None:
    breaker = world.breaker()
    fail(breaker)
    world.breakers.forget(INSTANCE.key)
    assert breaker.allow() is not None
    fail(breaker, 4)
    assert breaker.allow() is not None


def test_failures_count_again_when_the_record_is_long_forgotten(world: World) -> None:
    breaker = world.breaker()
    fail(breaker)
    world.clock.advance(30.0)
    for _ in range(3):
        admitted(breaker).done(True)
    admitted(breaker)
    world.clock.advance(31 * 86_400.0)
    fail(breaker, 6)  # the first was admitted under the record that is gone, and is dropped
    assert breaker.allow() is None


def test_an_outcome_that_cannot_be_recorded_is_logged_and_breaks_nothing(world: World) -> None:
    class Full:
        def stamp(self) -> int:
            return 0

        def read(self) -> tuple[Any, ...]:
            return (0, 0, 0, 0, 0.0)

        def apply(self, *args: Any) -> Any:
            raise StoreFull("no room")

    breaker = Breaker(Full(), INSTANCE, SETTINGS, lambda *told: None)  # type: ignore[arg-type]
    with structlog.testing.capture_logs() as lines:
        admitted(breaker).done(False)
    assert [line["event"] for line in lines] == ["breaker_not_recorded"]


def test_log_lines_name_service_and_instance(world: World) -> None:
    breakers = Breakers(world.engine, world.clock)
    breaker = breakers.of(INSTANCE, replace(SETTINGS, failures=2, half_open_probes=1))
    assert breaker is not None
    with structlog.testing.capture_logs() as lines:
        fail(breaker, 2)
        world.clock.advance(30.0)
        admitted(breaker).done(True)
    assert [line["event"] for line in lines] == [
        "breaker_failure", "breaker_opened", "breaker_half_open", "breaker_closed",
    ]  # fmt: skip
    assert (lines[0]["failures"], lines[0]["threshold"]) == (1, 2)
    assert all((line["service"], line["instance"]) == ("echo", "inst-1") for line in lines)
