from __future__ import annotations

from collections import Counter

import pytest

from gateway.clock import FakeClock
from gateway.config.model import Service
from gateway.errors import StoreFull
from gateway.state.engines import Record
from gateway.state.engines.memory import MemoryEngine
from gateway.state.operations.level import INITIAL, LIFT
from gateway.state.registry import Instance
from gateway.upstream.balancers import Chooser
from gateway.upstream.balancers.least_requests import LeastRequests, build
from tests.unit.upstream.balancers.support import FakeLoads, exchange, tried
from tests.unit.upstream.support import World, counting, instances, service

EXCHANGE = exchange()


class Node:
    """What workers share."""

    def __init__(self, **requests: int) -> None:
        self.engine = MemoryEngine(1 << 20, FakeClock())
        self.loads = FakeLoads(**requests)

    def worker(self) -> LeastRequests:
        return LeastRequests(counting(), self.loads, self.record)

    def record(self, key: str) -> Record:
        return self.engine.record(LIFT, f"level/{key}")

    def level(self, instance: Instance) -> float | None:
        known, level = self.record(instance.key).read()
        return level if known else None

    def reach(self, choose: Chooser, times: int) -> str:
        found = ""
        for _ in range(times):
            id = choose(EXCHANGE).id
            self.loads.counts[id] = self.loads.counts.get(id, 0) + 1
            found += id
        return found


def test_the_one_with_the_fewest_requests_is_picked() -> None:
    choose = Node(a=7, b=5, c=6).worker().prepare(instances(1, 1, 1))
    assert choose(EXCHANGE).id == "b"


def test_what_counts_is_requests_for_each_unit_of_weight() -> None:
    node = Node()
    assert Counter(node.reach(node.worker().prepare(instances(6, 3, 1)), 100)) == {"a": 60, "b": 30, "c": 10}


def test_those_of_the_first_set_begin_at_nothing() -> None:
    node, among = Node(a=4), instances(1, 1)
    node.worker().prepare(among)
    assert [node.level(one) for one in among] == [0.0, 0.0]


@pytest.mark.parametrize(("weight", "level"), [(1, 50.0), (3, 150.0)])
def test_a_newcomer_begins_where_the_least_of_the_others_is(weight: int, level: float) -> None:
    node = Node(a=50, b=160)
    one, two = instances(1, 2)
    new = Instance("echo", "c", "http://10.0.0.9:80", weight=weight)
    worker = node.worker()
    worker.prepare([one, two])
    worker.prepare([one, two, new])
    assert node.level(new) == level


def test_a_newcomer_is_neither_flooded_nor_starved() -> None:
    node, among = Node(), instances(1, 1, 1)
    worker = node.worker()
    node.reach(worker.prepare(among[:2]), 1000)
    assert Counter(node.reach(worker.prepare(among), 300)) == {"a": 100, "b": 100, "c": 100}


def test_one_that_comes_back_begins_where_the_others_are() -> None:
    node, among = Node(), instances(1, 1, 1)
    worker = node.worker()
    node.reach(worker.prepare(among), 30)
    node.reach(worker.prepare(among[:2]), 1000)
    assert Counter(node.reach(worker.prepare(among), 300)) == {"a": 100, "b": 100, "c": 100}


def test_one_that_comes_back_ahead_of_the_others_stays_where_it_is() -> None:
    node, among = Node(), instances(1, 1, 1)
    worker = node.worker()
    worker.prepare(among)
    node.loads.counts = {"a": 10, "b": 10, "c": 500}
    worker.prepare(among[:2])
    worker.prepare(among)
    assert node.level(among[2]) == 0.0


def test_a_worker_that_begins_takes_over_what_was_found() -> None:
    node, among = Node(), instances(1, 1, 1)
    worker = node.worker()
    node.reach(worker.prepare(among[:2]), 1000)
    node.reach(worker.prepare(among), 30)
    assert Counter(node.reach(node.worker().prepare(among), 300)) == {"a": 100, "b": 100, "c": 100}


def test_a_worker_that_begins_knows_a_newcomer_by_its_missing_level() -> None:
    node, among = Node(), instances(1, 1, 1)
    node.reach(node.worker().prepare(among[:2]), 1000)
    node.worker().prepare(among)
    assert node.level(among[2]) == 500.0


def test_where_nobody_stayed_those_whom_the_node_knows_are_compared_with() -> None:
    node, among = Node(), instances(1, 1, 1)
    worker = node.worker()
    node.reach(worker.prepare(among[:2]), 100)
    worker.prepare(among[:1])
    worker.prepare(among[1:])
    assert node.level(among[1]) == 0.0
    assert node.level(among[2]) == 50.0


def test_preparing_again_writes_nothing() -> None:
    node, among = Node(), instances(1, 2, 1)
    first, second = node.worker(), node.worker()
    node.reach(first.prepare(among[:2]), 99)
    first.prepare(among)
    second.prepare(among)
    before = node.engine.version("registry")
    for worker in (first, second) * 3:
        node.reach(worker.prepare(among), 5)
    assert node.engine.version("registry") == before


def test_a_level_that_another_worker_raised_is_seen_without_preparing_again() -> None:
    node, among = Node(), instances(1, 1, 1)
    first, idle = node.worker(), node.worker()
    chooser = idle.prepare(among)  # and hears nothing of what follows
    first.prepare(among)
    node.reach(first.prepare(among[:2]), 1000)
    node.reach(first.prepare(among), 3)
    assert Counter(node.reach(chooser, 300)) == {"a": 100, "b": 100, "c": 100}


def test_a_level_that_was_lost_is_set_anew() -> None:
    node, among = Node(), instances(1, 1, 1)
    worker = node.worker()
    node.reach(worker.prepare(among), 300)
    node.record(among[2].key).drop()
    node.loads.counts["c"] = 0
    assert Counter(node.reach(worker.prepare(among), 300)) == {"a": 100, "b": 100, "c": 100}
    choose = worker.prepare(among)
    node.record(among[0].key).drop()
    assert Counter(node.reach(choose, 300)) == {"a": 100, "b": 100, "c": 100}


def test_without_room_for_levels_a_worker_keeps_its_own() -> None:
    class Full:
        def apply(self, *_: object) -> float:
            raise StoreFull("no room")

        def read(self) -> tuple[int, float]:
            return INITIAL

        def stamp(self) -> int:
            return 0

    node, among = Node(a=50, b=50), instances(1, 1)
    worker = LeastRequests(counting(), node.loads, lambda key: Full())  # type: ignore[arg-type,return-value]
    assert Counter(node.reach(worker.prepare(among), 10)) == {"a": 5, "b": 5}


def test_one_that_failed_the_request_is_passed_over() -> None:
    one, two = instances(1, 1)
    choose = Node(b=9).worker().prepare([one, two])
    assert choose(EXCHANGE) is one
    assert choose(tried(one)) is two


def test_a_single_instance_is_picked_and_has_its_level() -> None:
    node, (only,) = Node(), instances(1)
    made = build(Service(), cursor=counting(), loads=node.loads, level=node.record)
    assert made.prepare([only])(EXCHANGE) is only
    assert node.level(only) == 0.0


def test_workers_of_a_node_count_together() -> None:
    services = {"echo": service("a", "b", balancer="least_requests")}
    world = World(services)
    workers = [world, world.worker(services), world.worker(services)]
    reached = "".join(workers[turn % 3].reach(1) for turn in range(30))
    # The memory engine's counters have one row, so all three add to the same cells.
    assert Counter(reached) == {"a": 15, "b": 15}


def test_an_instance_that_registers_is_not_flooded_by_any_worker_and_the_workers_come_to_rest() -> None:
    services = {"echo": service("a", "b", balancer="least_requests")}
    world = World(services)
    workers = [world, world.worker(services)]
    for turn in range(200):
        workers[turn % 2].reach(1)
    world.register("echo", "c")
    reached = "".join(workers[turn % 2].reach(1) for turn in range(90))
    assert all(abs(count - 30) <= 1 for count in Counter(reached).values())
    before = world.engine.version("registry")
    for worker in workers * 3:
        worker.reach(5)
    assert world.engine.version("registry") == before
