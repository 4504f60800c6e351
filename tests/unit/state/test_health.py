from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog

from gateway.clock import FakeClock
from gateway.config.model import ActiveHealth, PassiveHealth
from gateway.config.model import Health as Settings
from gateway.errors import StoreFull
from gateway.state.engines import Engine
from gateway.state.health import Event, Health, Healths, Mark
from gateway.state.operations import health as machine
from gateway.state.operations.health import Finding
from gateway.state.registry import TOPIC, Instance
from tests.support.engines import KINDS, engine_of

INSTANCE = Instance("echo", "inst-1", "http://127.0.0.1:8081")
BOTH = Settings(active=ActiveHealth(), passive=PassiveHealth())
GOOD, BAD = Finding(machine.GOOD), Finding(machine.STATUS, 503)
UP = Mark(True, "up", None, math.inf, 0.0)


class World:
    def __init__(self, engine: Engine, clock: FakeClock) -> None:
        self.engine, self.clock = engine, clock
        self.events: list[Event] = []
        self.healths = Healths(engine, clock, [self.events.append])

    def health(self, settings: Settings = BOTH, instance: Instance = INSTANCE) -> Health:
        return self.healths.of(instance, settings)

    def mark(self, health: Health | None = None) -> Mark:
        return (health or self.health()).mark(self.clock.monotonic())

    @property
    def told(self) -> list[str]:
        return [event.name for event in self.events]


@pytest.fixture(params=KINDS)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    clock = FakeClock()
    with engine_of(request.param, tmp_path, clock) as engine:
        yield World(engine, clock)


def probe(health: Health, finding: Finding, times: int = 1) -> None:
    for _ in range(times):
        health.probed(finding)


def fail(health: Health, times: int = 3) -> None:
    for _ in range(times):
        health.failed()


def test_an_instance_that_nothing_is_known_of_is_up_and_costs_no_reading(world: World) -> None:
    health = world.health()
    assert world.mark(health) == UP
    assert world.mark(health) is world.mark(health)
    probe(health, GOOD, 5)
    assert world.mark(health) is world.mark(health)
    assert health.record.read() == machine.INITIAL


def test_what_one_worker_finds_all_see(world: World) -> None:
    one, other = world.health(), world.health()
    assert world.mark(other).fit
    probe(one, BAD, 2)
    probe(other, BAD)
    for health in (one, other):
        assert world.mark(health) == Mark(
            False, "unhealthy", "3 probes failed: status 503", math.inf, 0.0, healthy=False
        )
    probe(other, GOOD, 2)
    assert world.mark(one) == UP._replace(since=world.clock.monotonic())


def test_a_passive_mark_tells_its_end_and_ends_by_itself(world: World) -> None:
    health = world.health()
    fail(health)
    now = world.clock.monotonic()
    world.clock.advance(5.8)
    mark = world.mark(health)
    assert (mark.mode, mark.until) == ("unhealthy", now + 10)
    assert mark.reason == "3 failures within 30 s; tried again in 4.2s"
    world.clock.advance(4.2)
    assert world.mark(health) == UP._replace(since=now + 10)


def test_both_reasons_are_told(world: World) -> None:
    health = world.health()
    fail(health)
    probe(health, Finding(machine.REFUSED), 3)
    assert world.mark(health).reason == "3 probes failed: refused, and 3 failures within 30 s; tried again in 10.0s"


def test_without_settings_failures_and_probes_are_nothing(world: World) -> None:
    health = world.health(Settings())
    fail(health)
    probe(health, BAD, 3)
    assert health.record.read() == machine.INITIAL


def test_settings_that_are_gone_after_a_reload_count_no_more(world: World) -> None:
    probe(world.health(), BAD, 3)
    assert not world.mark().fit
    assert world.mark(world.health(replace(BOTH, active=None))).fit


def test_the_operator_s_word_comes_before_what_was_found(world: World) -> None:
    health = world.health(Settings())
    began = world.clock.monotonic()
    assert health.steer("drain")
    assert not health.steer("drain")
    world.clock.advance(3)
    assert world.mark(health) == Mark(False, "draining", "drained by an operator", math.inf, 0.0)
    probe(world.health(), BAD, 3)
    assert world.mark()[:2] == (False, "draining")
    assert not world.mark().healthy
    health.steer("disable")
    assert world.mark(health) == Mark(False, "disabled", "disabled by an operator", math.inf, 0.0)
    world.clock.advance(3)
    health.steer("enable")
    assert world.mark(health) == UP._replace(since=began + 6)


def test_transitions_are_told_once_with_their_cause(world: World) -> None:
    one, other = world.health(), world.health()
    probe(one, BAD, 3)
    probe(other, BAD)
    probe(other, GOOD, 3)
    fail(one)
    world.clock.advance(10)
    one.settle()
    other.settle()
    one.steer("drain")
    other.steer("drain")
    other.steer("disable")
    one.steer("enable")
    start = 1_700_000_000.0
    assert world.events == [
        Event("unhealthy", "healthy", "echo", "inst-1", start, "3 probes failed: status 503", 3),
        Event("healthy", "unhealthy", "echo", "inst-1", start, "probes succeed again"),
        Event("unhealthy", "healthy", "echo", "inst-1", start, "3 failures within 30 s", 3),
        Event("healthy", "unhealthy", "echo", "inst-1", start + 10, "retry_after is over"),
        Event("draining", "enabled", "echo", "inst-1", start + 10, "an operator"),
        Event("disabled", "draining", "echo", "inst-1", start + 10, "an operator"),
        Event("enabled", "disabled", "echo", "inst-1", start + 10, "an operator"),
    ]


def test_a_return_that_nobody_noted_is_told_before_the_next_failure(world: World) -> None:
    health = world.health()
    fail(health)
    world.clock.advance(10)
    health.failed()
    assert world.told == ["unhealthy", "healthy", "unhealthy"]


def test_who_subscribes_is_told_and_may_ask(world: World) -> None:
    seen: list[Any] = []
    health = world.health()
    world.healths.subscribe(lambda event: seen.append((event.name, world.mark(health).mode)))
    health.steer("drain")
    assert seen == [("draining", "draining")]
    assert world.told == ["draining"]


def test_the_registry_s_version_changes_with_what_may_be_picked_and_with_nothing_else(world: World) -> None:
    health = world.health()

    def changes(act: Any) -> bool:
        before = world.engine.version(TOPIC)
        act()
        return world.engine.version(TOPIC) != before

    assert not changes(lambda: probe(health, BAD, 2))
    assert changes(lambda: probe(health, BAD))
    assert not changes(lambda: probe(health, BAD))
    assert not changes(lambda: probe(health, GOOD))
    assert changes(lambda: probe(health, GOOD))
    assert not changes(lambda: fail(health, 2))
    assert changes(health.failed)
    assert not changes(health.failed)
    for action in ("drain", "disable", "enable"):
        assert changes(lambda action=action: health.steer(action))
        assert not changes(lambda action=action: health.steer(action))


def test_state_belongs_to_service_id_and_address(world: World) -> None:
    probe(world.health(), BAD, 3)
    assert not world.mark(world.health(instance=replace(INSTANCE, weight=7, zone="b"))).fit
    assert world.mark(world.health(instance=Instance("echo", "inst-1", "http://127.0.0.1:9"))).fit


def test_an_instance_that_was_forgotten_starts_afresh(world: World) -> None:
    health = world.health()
    probe(health, BAD, 3)
    health.steer("disable")
    world.healths.forget(INSTANCE.key)
    assert world.mark(health) == UP
    probe(health, BAD, 2)
    assert world.mark(health).fit


def test_what_is_told_of_an_earlier_life_says_nothing_of_this_one(world: World) -> None:
    before = world.health(instance=replace(INSTANCE, since=100.0))
    world.healths.forget(INSTANCE.key)
    after = world.health(instance=replace(INSTANCE, since=200.0))
    for _ in range(20):
        before.failed()
    assert world.mark(after) == UP
    after.steer("drain")
    before.steer("disable")
    probe(before, BAD, 9)
    assert world.mark(after).mode == "draining"


def test_what_cannot_be_recorded_is_logged_and_breaks_nothing(world: World) -> None:
    class Full:
        def apply(self, *args: Any) -> Any:
            raise StoreFull("no room")

    health = Health(Full(), INSTANCE, BOTH, lambda *told: None)  # type: ignore[arg-type]
    with structlog.testing.capture_logs() as lines:
        health.failed()
        health.probed(BAD)
    assert [line["event"] for line in lines] == ["health_not_recorded"] * 2


def test_log_lines_name_service_instance_and_cause(world: World) -> None:
    health = Healths(world.engine, world.clock).of(INSTANCE, BOTH)
    with structlog.testing.capture_logs() as lines:
        probe(health, BAD, 3)
        probe(health, GOOD, 2)
        for action in ("drain", "disable", "enable"):
            health.steer(action)  # type: ignore[arg-type]
    assert [line["event"] for line in lines] == [
        "instance_unhealthy", "instance_healthy", "instance_draining", "instance_disabled", "instance_enabled",
    ]  # fmt: skip
    assert lines[0]["failures"] == 3
    assert all((line["service"], line["instance"]) == ("echo", "inst-1") and line["cause"] for line in lines)
