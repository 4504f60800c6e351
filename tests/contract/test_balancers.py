"""What every balancer promises, by being in the folder."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Sequence

import pytest

from gateway import plugin
from gateway.clock import FakeClock
from gateway.config.model import BalancerName, Hash, Service
from gateway.exchange import Exchange
from gateway.state.engines.memory import MemoryEngine
from gateway.state.inflight import InFlight
from gateway.state.operations.level import LIFT
from gateway.state.operations.sequence import NEXT
from gateway.state.registry import Instance
from gateway.upstream import balancers
from gateway.upstream.balancers import Balancer, Chooser

KINDS = plugin.kinds(balancers)
CONSTANT = ["round_robin", "weighted_round_robin", "random_two", "consistent_hash"]  # cost, whatever their number
WEIGHTED = [kind for kind in KINDS if kind != "round_robin"]
SETTINGS = Service(hash=Hash(key="client_ip", bounded_load=1.25))


class Node:
    """A node whose requests are answered at once, or stay in flight."""

    def __init__(self) -> None:
        self.engine = MemoryEngine(1 << 22, FakeClock())
        self.inflight = InFlight(self.engine)

    def balancer(self, kind: str, settings: Service = SETTINGS) -> Balancer:
        made: Balancer = plugin.load(balancers, kind).build(
            settings,
            cursor=lambda: self.engine.record(NEXT, "cursor").apply(NEXT),
            loads=self.inflight,
            level=lambda key: self.engine.record(LIFT, key),
            uniform=random.Random(1).random,
        )
        return made

    def count(self, instance: Instance, *, stays: bool = False) -> None:
        columns = self.inflight.columns(instance.key)
        self.inflight.requests[columns.requests] += 1
        self.inflight.in_flight[columns.in_flight] += stays


def asked(client: str) -> Exchange:
    exchange = Exchange({"REQUEST_METHOD": "GET"}, "external")
    exchange.client = client
    return exchange


def among(number: int) -> Sequence[Instance]:
    return [
        Instance("echo", f"i{at}", f"http://10.0.{at // 250}.{at % 250}:80", weight=1 + at % 5) for at in range(number)
    ]


def test_the_folder_holds_what_the_configuration_knows() -> None:
    assert set(KINDS) == set(BalancerName.__args__)  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("number", [1, 2, 7, 100])
def test_it_picks_only_what_it_was_given(kind: str, number: int) -> None:
    node, instances = Node(), among(number)
    choose = node.balancer(kind).prepare(instances)
    for client in range(3 * number):
        found = choose(asked(str(client)))
        assert any(found is one for one in instances)
        node.count(found, stays=client % 3 == 0)


@pytest.mark.parametrize("kind", KINDS)
def test_each_of_them_is_picked(kind: str) -> None:
    node, instances = Node(), among(5)
    choose = node.balancer(kind).prepare(instances)
    assert len({choose(asked(str(client))).id for client in range(300)}) == 5


@pytest.mark.parametrize("kind", KINDS)
def test_sets_do_not_disturb_each_other(kind: str) -> None:
    balancer = Node().balancer(kind)
    all_of_them, some, others = among(5), among(2), among(9)[5:]
    choosers = [(balancer.prepare(instances), instances) for instances in (all_of_them, some, others, all_of_them)]
    for client in range(20):
        for choose, instances in choosers:
            assert choose(asked(str(client))) in instances


@pytest.mark.parametrize("kind", KINDS)
def test_what_failed_the_request_may_be_picked_again_but_nothing_else_happens(kind: str) -> None:
    instances = among(3)
    choose = Node().balancer(kind).prepare(instances)
    for failed in range(4):
        exchange = asked("10.0.0.1")
        exchange.tried = (*(one.key for one in instances[:failed]), "echo/gone@http://10.9.9.9:80")
        assert choose(exchange) in instances


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "robin" not in kind])
def test_those_that_see_the_request_avoid_what_failed_it(kind: str) -> None:
    instances = among(4)
    choose = Node().balancer(kind).prepare(instances)
    for client in range(40):
        exchange = asked(str(client))
        exchange.tried = tuple(one.key for one in (instances[client % 4], instances[(client + 1) % 4]))
        assert choose(exchange).key not in exchange.tried


@pytest.mark.parametrize("kind", WEIGHTED)
def test_weights_are_honoured(kind: str) -> None:
    node = Node()
    instances = [
        Instance("echo", f"i{at}", f"http://10.0.0.{at}:80", weight=weight) for at, weight in enumerate((6, 3, 1))
    ]
    choose = node.balancer(kind, Service(hash=Hash(key="client_ip"))).prepare(instances)
    counts: Counter[str] = Counter()
    for client in range(4000):
        found = choose(asked(str(client)))
        node.count(found)
        counts[found.id] += 1
    for one in instances:
        assert abs(counts[one.id] / 400 - one.weight) <= 0.15 * one.weight


@pytest.mark.parametrize("kind", KINDS)
def test_threads_share_choosers_while_sets_change(kind: str) -> None:
    node = Node()
    balancer, lock = node.balancer(kind), threading.Lock()
    sets = [among(6), among(6)[1:], among(3), among(8)]
    strange: list[object] = []

    def work(offset: int) -> None:
        try:
            for turn in range(8):
                instances = sets[(turn + offset) % 4]
                with lock:
                    choose = balancer.prepare(instances)
                for client in range(60):
                    found = choose(asked(str(client)))
                    node.count(found)
                    if not any(found is one for one in instances):
                        strange.append(found)
        except BaseException as error:
            strange.append(error)

    threads = [threading.Thread(target=work, args=(offset,)) for offset in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert strange == []


@pytest.mark.parametrize("kind", CONSTANT)
def test_choosing_among_a_thousand_costs_at_most_twice_choosing_among_ten(kind: str) -> None:
    clients = [asked(f"10.1.0.{at}") for at in range(500)]
    settings = Service(hash=Hash(key="client_ip"))
    few, many = (Node().balancer(kind, settings).prepare(among(number)) for number in (10, 1000))

    def cost(choose: Chooser) -> int:
        start = time.thread_time_ns()
        for exchange in clients:
            choose(exchange)
        return time.thread_time_ns() - start

    # Other processes only ever make it slower, and both alike: the least of each, over rounds that alternate.
    rounds = [(cost(few), cost(many)) for _ in range(60)]
    assert min(large for _, large in rounds) <= 2.0 * min(small for small, _ in rounds)
