from __future__ import annotations

from gateway.clock import FakeClock
from gateway.state.ejections import PAUSE, TRIES, TTL, Ejections
from gateway.state.engines.memory import MemoryEngine
from gateway.state.operations import lease
from gateway.state.operations.breaker import ALLOW, FAILURE_RATIO, STEER, TARGETS, TRIP


class World:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.engine = MemoryEngine(1 << 20, self.clock)
        self.waited: list[float] = []
        self.keys = ["a", "b", "c", "d"]
        self.ejections = Ejections(self.engine, lambda service: self.keys, self.waited.append)

    def open(self, key: str, share: float = 0.5) -> bool | None:
        record = self.engine.record(ALLOW, key)
        return self.ejections.open("echo", share, lambda: record.apply(TRIP, 0, FAILURE_RATIO).changed)


def test_so_many_open_as_the_share_allows() -> None:
    world = World()
    assert [world.open(key) for key in "abcd"] == [True, True, None, None]


def test_a_share_that_is_just_missed_by_rounding_is_not_missed() -> None:
    world = World()
    world.keys = [str(number) for number in range(100)]
    assert [world.open(str(number), 0.29) for number in range(100)].count(True) == 29


def test_room_is_found_when_an_instance_comes_or_closes() -> None:
    world = World()
    for key in "ab":
        world.open(key)
    assert world.open("c") is None
    world.keys += ["e", "f"]
    assert world.open("c")
    assert world.open("d") is None
    world.engine.record(ALLOW, "a").apply(STEER, TARGETS["reset"])
    assert world.open("d")


def test_another_that_is_opening_is_waited_for() -> None:
    world = World()
    world.engine.record(lease.ACQUIRE, "trip/echo").apply(lease.ACQUIRE, TTL)
    assert world.open("a") is None
    assert world.waited == [PAUSE] * TRIES
    world.clock.advance(TTL)
    assert world.open("a")


def test_the_lease_is_given_back() -> None:
    world = World()
    world.open("a")
    assert world.open("b")
    assert world.waited == []
