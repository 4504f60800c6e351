from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import structlog

from gateway.clock import FakeClock
from gateway.config.model import Breaker as Settings
from gateway.config.model import SlowCall
from gateway.config.units import Window
from gateway.errors import StoreFull
from gateway.state import breakers as module
from gateway.state.breakers import Breaker, Breakers, Event, Permit
from gateway.state.engines.memory import MemoryEngine
from gateway.state.registry import TOPIC, Instance

SETTINGS = Settings()
RATIO = Settings(failures=32, window=Window(seconds=10.0), failure_ratio=0.5, minimum_calls=4)
SLOW = Settings(window=Window(seconds=10.0), slow_call=SlowCall(over=1.0, ratio=0.5), minimum_calls=4)
INSTANCE = Instance("echo", "inst-1", "http://127.0.0.1:8081")


class World:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.engine = MemoryEngine(1 << 20, self.clock)
        self.events: list[Event] = []
        self.peers: list[str] = []
        self.breakers = Breakers(self.engine, self.clock, [self.events.append], peers=lambda service: self.peers)

    def breaker(self, settings: Settings = SETTINGS, instance: Instance = INSTANCE, timeout: float = 30.0) -> Breaker:
        """Another handle, as another worker has one."""
        breaker = self.breakers.of(instance, settings, timeout)
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
    assert world.names() == ["failure"] * 5 + ["opened"]
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
    assert world.names() == ["failure", "failure", "opened", "half_open", "opened", "half_open", "closed"]
    start = 1_700_000_000.0
    first, opened, reopened, closed = world.events[0], world.events[2], world.events[4], world.events[6]
    common: dict[str, Any] = {"service": "echo", "instance": "inst-1", "key": INSTANCE.key, "threshold": 2}
    assert first == Event(
        name="failure", at=start, before="closed", after="closed", cause="failure", failures=1, **common
    )
    assert opened == Event(
        name="opened", at=start, before="closed", after="open", cause="failures", failures=2, open_for=7.0, **common
    )
    assert (reopened.before, reopened.after, reopened.cause) == ("half_open", "open", "probe_failed")
    assert closed == Event(
        name="closed", at=start + 14.0, before="half_open", after="closed", cause="probes_succeeded", failures=0,
        **common,
    )  # fmt: skip


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
    assert set(seen) == {"open"}


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
    assert breaker.status(now) == module.Status("open", 1, 5, now, now + 30.0, "failures")
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


def test_what_was_under_way_when_an_instance_went_says_nothing_about_the_next_one(world: World) -> None:
    breaker = world.breaker()
    under_way = [admitted(breaker) for _ in range(20)]
    for permit in under_way[:5]:
        permit.done(False)
    assert breaker.allow() is None
    world.breakers.forget(INSTANCE.key)
    after = world.breaker()
    for permit in under_way[5:]:
        permit.done(False)
    assert admitted(after).done(True) is None
    assert after.status(world.clock.monotonic()).failures == 0


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
    class Full(MemoryEngine):
        """No room for any record."""

        def record(self, *_: Any) -> Any:
            return self

        def stamp(self) -> int:
            return 0

        def read(self) -> tuple[Any, ...]:
            return (0, 0, 0, 0, 0.0)

        def apply(self, *args: Any) -> Any:
            raise StoreFull("no room")

    for settings in (SETTINGS, RATIO):
        breaker = Breakers(Full(1, world.clock), world.clock).of(INSTANCE, settings)
        assert breaker is not None
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
        "breaker_failure", "breaker_failure", "breaker_opened", "breaker_half_open", "breaker_closed",
    ]  # fmt: skip
    assert [(line["failures"], line["threshold"]) for line in lines[:3]] == [(1, 2), (2, 2), (2, 2)]
    assert [(line["from"], line["to"]) for line in lines[2:]] == [
        ("closed", "open"), ("open", "half_open"), ("half_open", "closed"),
    ]  # fmt: skip
    assert all((line["service"], line["instance"]) == ("echo", "inst-1") for line in lines)
    assert [line["cause"] for line in lines] == ["failure", "failure", "failures", "open_for", "probes_succeeded"]
    assert all(line["window"] is None for line in lines)


# --- windows and shares ---------------------------------------------------------------------------------------------
def test_failures_within_the_window_open_it_whatever_succeeds_in_between(world: World) -> None:
    settings = Settings(failures=3, window=Window(seconds=10.5))
    one, other = world.breaker(settings), world.breaker(settings)
    for breaker in (one, other, one):
        assert one.allow() is not None
        admitted(breaker).done(True)
        admitted(breaker).done(False)
        world.clock.advance(5.0)
    assert world.names() == ["failure", "failure", "failure", "opened"]
    assert (world.events[-1].cause, world.events[-1].window) == ("failures", 10.5)


def test_a_window_may_be_a_multiple_of_the_request_timeout(world: World) -> None:
    settings = Settings(failures=2, window=Window(times_request=3.5))
    breaker = world.breaker(settings, timeout=2.0)
    fail(breaker, 1)
    world.clock.advance(7.0)
    fail(breaker, 1)
    assert world.names() == ["failure", "failure"]
    assert world.events[0].window == 7.0


def test_healthy_traffic_writes_nothing_with_failures_in_the_window(world: World) -> None:
    breaker = world.breaker(Settings(failures=3, window=Window(seconds=10.5)))
    fail(breaker, 1)
    stamp = breaker.record.stamp()
    admitted(breaker).done(True)
    assert admitted(breaker) is admitted(breaker)
    assert breaker.record.stamp() == stamp


def test_the_share_of_failures_counts_from_the_minimum_of_calls_on(world: World) -> None:
    one, other = world.breaker(RATIO), world.breaker(RATIO)
    fail(one, 2)
    admitted(other).done(True)
    assert one.allow() is not None
    admitted(other).done(True)  # the fourth: a success completes the minimum
    assert one.allow() is None
    assert world.names() == ["failure", "failure", "opened"]
    opened = world.events[-1]
    assert (opened.cause, opened.calls, opened.failed, opened.slow) == ("failure_ratio", 4, 2, 0)
    assert one.status(world.clock.monotonic()).cause == "failure_ratio"


def test_outcomes_that_say_nothing_are_no_calls(world: World) -> None:
    breaker = world.breaker(RATIO)
    fail(breaker, 3)
    for _ in range(10):
        admitted(breaker).done(None, 99.0)
    assert breaker.allow() is not None


@pytest.mark.parametrize("ok", [True, False])
def test_slow_calls_count_whatever_they_answer(world: World, ok: bool) -> None:
    breaker = world.breaker(SLOW)
    for seconds in (1.0, None, 1.001):
        admitted(breaker).done(ok, seconds)
    assert breaker.allow() is not None
    admitted(breaker).done(ok, 1.001)
    assert breaker.allow() is None
    assert (world.events[-1].cause, world.events[-1].slow) == ("slow_call", 2)


def test_any_rule_opens_it(world: World) -> None:
    both = replace(SLOW, failures=3, failure_ratio=0.75)
    failing, slow, counted = (
        world.breaker(both, Instance("echo", id, "http://127.0.0.1:1")) for id in ("failing", "slow", "counted")
    )
    fail(counted, 3)
    for breaker, seconds in ((failing, 0.1), (slow, 2.0)):
        fail(breaker, 2)
        admitted(breaker).done(True, seconds)
        admitted(breaker).done(True, seconds)
    assert [event.cause for event in world.events if event.name == "opened"] == ["failures", "slow_call"]


def test_calls_begin_anew_when_it_closed(world: World) -> None:
    breaker = world.breaker(replace(RATIO, window=Window(seconds=1000.0), half_open_probes=1))
    late = admitted(breaker)
    fail(breaker, 4)
    late.done(False)
    world.clock.advance(30.0)
    admitted(breaker).done(True)
    fail(breaker, 1)
    for _ in range(2):
        admitted(breaker).done(True)
    late.done(False)
    assert breaker.allow() is not None
    fail(breaker, 1)
    assert breaker.allow() is None


def test_more_failures_than_have_places_are_counted_with_all_calls(world: World) -> None:
    breaker = world.breaker(replace(RATIO, failures=40, minimum_calls=1000))
    fail(breaker, 39)
    assert breaker.allow() is not None
    fail(breaker, 1)
    assert (world.events[-1].name, world.events[-1].cause) == ("opened", "failures")


def test_shares_are_looked_at_again_when_the_record_is_long_forgotten(world: World) -> None:
    breaker = world.breaker(replace(RATIO, half_open_probes=1))
    fail(breaker, 4)
    world.clock.advance(30.0)
    admitted(breaker).done(True)
    admitted(breaker).done(True)
    breaker.record.drop()
    admitted(breaker).done(True)  # the generations began anew, and so do the counts
    fail(breaker, 3)
    admitted(breaker).done(True)
    assert breaker.allow() is None


# --- back-off -------------------------------------------------------------------------------------------------------
def test_the_open_phase_doubles_as_far_as_it_may(world: World) -> None:
    breaker = world.breaker(Settings(failures=1, open_for=10.0, max_open_for=25.0))
    fail(breaker, 1)
    for seconds in (10.0, 20.0, 25.0):
        assert world.events[-1].open_for == seconds
        now = world.clock.monotonic()
        assert breaker.open_until(now) == now + seconds == breaker.status(now).half_open_at
        world.clock.advance(seconds)
        fail(breaker, 1)


# --- max_ejected ----------------------------------------------------------------------------------------------------
def service(world: World, size: int, **settings: Any) -> list[Breaker]:
    instances = [Instance("echo", f"i{at}", f"http://127.0.0.1:{at}") for at in range(size)]
    world.peers = [one.key for one in instances]
    return [world.breaker(Settings(failures=2, **settings), one) for one in instances]


@pytest.mark.parametrize(("size", "share", "bound"), [(4, 0.5, 2), (5, 0.5, 2), (3, 0.1, 1), (3, 0.0, 1), (4, 1.0, 4)])
def test_no_more_than_a_share_of_the_instances_is_open(world: World, size: int, share: float, bound: int) -> None:
    breakers = service(world, size, max_ejected=share)
    for breaker in breakers:
        fail(breaker, 2)
    assert [breaker.allow() is None for breaker in breakers] == [True] * bound + [False] * (size - bound)
    assert world.names().count("opened") == bound


def test_one_that_must_not_open_tries_again_with_each_failure_and_says_so_once_a_second(world: World) -> None:
    first, second = service(world, 2, max_ejected=0.5, half_open_probes=1)
    fail(first, 2)
    fail(second, 4)
    assert [event.failures for event in world.events if event.name == "held"] == [2]
    world.clock.advance(1.0)
    fail(second, 1)
    assert [event.failures for event in world.events if event.name == "held"] == [2, 5]
    assert {event.cause for event in world.events if event.name == "held"} == {"max_ejected"}
    world.clock.advance(29.0)
    probe = admitted(first)
    fail(second, 1)  # half open is not closed
    assert second.allow() is not None
    probe.done(True)
    assert second.status(world.clock.monotonic()).failures == 6
    fail(second, 1)
    assert second.allow() is None
    assert (world.events[-1].name, world.events[-1].failures) == ("opened", 7)


def test_a_success_takes_the_failures_of_one_that_must_not_open_back(world: World) -> None:
    first, second = service(world, 2, max_ejected=0.5)
    fail(first, 2)
    fail(second, 3)
    admitted(second).done(True)
    world.breakers.forget(first.instance.key)
    fail(second, 1)
    assert second.allow() is not None


def test_shares_respect_the_bound(world: World) -> None:
    first, second = service(world, 2, max_ejected=0.5)
    other = world.breaker(replace(RATIO, max_ejected=0.5), second.instance)  # type: ignore[arg-type]
    fail(first, 2)
    for _ in range(4):
        admitted(other).done(False)
    assert other.allow() is not None
    assert world.events[-1].name == "held"
    world.breakers.forget(first.instance.key)
    world.peers = world.peers[1:]
    admitted(other).done(False)
    assert other.allow() is None


def test_forced_states_are_no_ejections(world: World) -> None:
    breakers = service(world, 3, max_ejected=0.4)
    breakers[0].steer("force_open")
    fail(breakers[1], 2)
    assert breakers[1].allow() is None
    breakers[2].steer("force_open")
    assert breakers[2].allow() is None


# --- steering -------------------------------------------------------------------------------------------------------
def test_an_operator_keeps_it_open(world: World) -> None:
    one, other = world.breaker(), world.breaker()
    permit = admitted(other)
    one.steer("force_open")
    now = world.clock.monotonic()
    assert other.allow() is None
    assert other.open_until(now) == math.inf
    assert one.status(now) == module.Status("forced_open", 1, 0, now, None)
    permit.done(True)
    world.clock.advance(1e7)
    assert one.allow() is None
    (event,) = world.events
    assert (event.name, event.before, event.after, event.cause) == ("steered", "closed", "forced_open", "force_open")


@pytest.mark.parametrize(("action", "state"), [("force_close", "forced_closed"), ("disable", "disabled")])
@pytest.mark.parametrize("settings", [SETTINGS, RATIO], ids=["count", "ratio"])
def test_an_operator_keeps_it_from_opening(world: World, action: Any, state: str, settings: Settings) -> None:
    one, other = world.breaker(settings), world.breaker(settings)
    fail(one, 4)
    one.steer(action)
    for breaker in (one, other):
        fail(breaker, 50)
        assert breaker.open_until(world.clock.monotonic()) == 0.0
        assert admitted(breaker) is admitted(breaker)
    assert one.status(world.clock.monotonic()) == module.Status(state, one.record.read()[1], 0, None, None)
    assert world.names()[-1] == "steered"


def test_a_reset_forgets_failures_calls_and_back_off(world: World) -> None:
    breaker = world.breaker(RATIO)
    fail(breaker, 3)
    breaker.steer("reset")
    fail(breaker, 3)
    assert breaker.allow() is not None
    fail(breaker, 1)
    assert breaker.allow() is None
    breaker.steer("reset")
    assert breaker.allow() is not None


def test_when_it_last_came_back_is_told(world: World) -> None:
    breaker = world.breaker(replace(SETTINGS, half_open_probes=1))
    assert breaker.closed_at() == 0.0
    fail(breaker)
    world.clock.advance(30.0)
    admitted(breaker).done(True)
    came_back = world.clock.monotonic()
    world.clock.advance(5.0)
    fail(breaker, 1)
    assert breaker.closed_at() == came_back
    breaker.steer("force_open")
    world.clock.advance(5.0)
    breaker.steer("force_close")
    assert breaker.closed_at() == world.clock.monotonic()


# --- listeners ------------------------------------------------------------------------------------------------------
def test_who_subscribes_is_told_from_then_on(world: World) -> None:
    breaker = world.breaker(Settings(failures=1, deregister=True))
    told: list[Event] = []
    world.breakers.subscribe(told.append)
    fail(breaker, 1)
    assert told == world.events
    assert (told[-1].key, told[-1].deregister) == (INSTANCE.key, True)


def test_a_listener_that_fails_costs_nobody_anything(world: World) -> None:
    def failing(event: Event) -> None:
        raise RuntimeError("broken")

    told: list[Event] = []
    found = Breakers(world.engine, world.clock, [failing, told.append]).of(INSTANCE, SETTINGS)
    assert found is not None
    with structlog.testing.capture_logs() as lines:
        fail(found, 1)
    assert len(told) == 1
    assert [line["event"] for line in lines] == ["listener_failed"]


def test_steering_and_holding_are_logged(world: World) -> None:
    breakers = Breakers(world.engine, world.clock, peers=lambda service: world.peers)
    first, second = service(world, 2, max_ejected=0.5)
    fail(first, 2)
    handle = breakers.of(second.instance, second.settings)
    assert handle is not None
    with structlog.testing.capture_logs() as lines:
        fail(handle, 2)
        handle.steer("disable")
    assert [line["event"] for line in lines] == [
        "breaker_failure",
        "breaker_failure",
        "breaker_held",
        "breaker_steered",
    ]
    assert (lines[3]["from"], lines[3]["to"], lines[3]["cause"]) == ("closed", "disabled", "disable")
