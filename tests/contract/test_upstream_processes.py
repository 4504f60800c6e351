"""Four workers of one node: turns, breakers and counters are the node's, exactly."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from gateway.clock import SystemClock
from gateway.config.model import Breaker, Defaults, Instance, Retries, Service
from gateway.errors import CircuitOpen
from gateway.exchange import Answer, Exchange
from gateway.state.breakers import Breakers
from gateway.state.budgets import RetryBudgets
from gateway.state.engines.node import NodeEngine
from gateway.state.health import Healths
from gateway.state.inflight import InFlight
from gateway.state.operations.sequence import NEXT
from gateway.state.registration import Registration
from gateway.state.registry import Registry
from gateway.upstream.attempts import Attempts
from gateway.upstream.balancing import Balancing
from gateway.upstream.eligible import Eligible
from tests.support.engines import Fleet

WORKERS, THREADS = 4, 4
WEIGHTS = {"a": 5, "b": 1, "c": 1}


class Route:
    timeouts = retries = balancer = service_position = None
    tags = ()


class Gateway:
    """The stage of one worker, over the node's engine."""

    def __init__(self, engine: NodeEngine, services: Mapping[str, Service]) -> None:
        clock = SystemClock()
        breakers, self.inflight = Breakers(engine, clock, ()), InFlight(engine)
        self.registry = Registry(engine, clock, services, Defaults())
        eligible = Eligible(
            self.registry,
            breakers,
            Healths(engine, clock, ()),
            self.inflight,
            budgets=RetryBudgets(engine),
            balancer_of=Balancing(engine, self.inflight).of,
            clock=clock,
        )
        self.stage = Attempts(eligible, self.inflight, clock)
        self.reached: list[str] = []

    def request(self, backend: Callable[[Exchange], Answer]) -> None:
        exchange = Exchange({"REQUEST_METHOD": "GET"}, "external")
        exchange.service_name, exchange.route = "echo", Route

        def proceed(exchange: Exchange) -> Answer:
            self.reached.append(exchange.instance.id)
            return backend(exchange)

        self.stage(exchange, proceed)


def fine(exchange: Exchange) -> Answer:
    return Answer(200, [], [b"ok"])


def failing(exchange: Exchange) -> Answer:
    return Answer(500, [], [b"no"])


def service(balancer: str = "round_robin", breaker: Breaker | None = None, **weights: int) -> Mapping[str, Service]:
    instances = tuple(
        Instance(id=id, url=f"http://{id}.test:80", weight=weight) for id, weight in (weights or WEIGHTS).items()
    )
    return {"echo": Service(retries=Retries(attempts=1), instances=instances, balancer=balancer, breaker=breaker)}  # type: ignore[arg-type]


def in_threads(work: Callable[[], None]) -> None:
    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def meet(engine: NodeEngine, where: str, workers: int = WORKERS) -> None:
    """Return when so many workers are here."""
    place = engine.record(NEXT, where)
    place.apply(NEXT)
    until(lambda: place.read()[0] >= workers)


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    with Fleet(tmp_path) as fleet:
        yield fleet


@pytest.mark.parametrize(
    ("balancer", "shares"),
    [("round_robin", {"a": 700, "b": 700, "c": 700}), ("weighted_round_robin", {"a": 1500, "b": 300, "c": 300})],
)
def test_shares_are_exact_over_all_workers(fleet: Fleet, balancer: str, shares: dict[str, int]) -> None:
    """2,100 requests, of which each worker takes as many as it gets: a multiple of the period in all."""
    services = service(balancer)

    def work(engine: NodeEngine) -> Counter[str]:
        gateway, tickets = Gateway(engine, services), engine.record(NEXT, "tickets")

        def thread() -> None:
            while tickets.apply(NEXT) < 2100:
                gateway.request(fine)

        in_threads(thread)
        return Counter(gateway.reached)

    counts = [worker.result() for worker in [fleet.start(work) for _ in range(WORKERS)]]
    assert sum(counts, Counter()) == shares
    with fleet.here() as engine:
        gateway = Gateway(engine, services)
        keys = {id: f"echo/{id}@http://{id}.test:80" for id in shares}
        assert {id: gateway.inflight.requests_of(key) for id, key in keys.items()} == shares
        assert [gateway.inflight.in_flight_of(key) for key in keys.values()] == [0, 0, 0]


def test_one_after_another_exactly_five_failures_reach_an_instance_whichever_worker_sends_them(fleet: Fleet) -> None:
    services = service(breaker=Breaker(), dead=1)

    def work(engine: NodeEngine) -> int:
        gateway = Gateway(engine, services)
        for _ in range(3):
            try:
                gateway.request(failing)
            except CircuitOpen:
                break
        return len(gateway.reached)

    assert [fleet.start(work).result() for _ in range(4)] == [3, 2, 0, 0]


def test_at_the_same_time_at_most_five_and_those_under_way_reach_it(fleet: Fleet) -> None:
    services = service(breaker=Breaker(), dead=1)

    def work(engine: NodeEngine) -> int:
        gateway = Gateway(engine, services)

        def thread() -> None:
            for _ in range(50):
                try:
                    gateway.request(failing)
                except CircuitOpen:
                    return

        in_threads(thread)
        return len(gateway.reached)

    reached = sum(worker.result() for worker in [fleet.start(work) for _ in range(WORKERS)])
    assert 5 <= reached <= 5 + WORKERS * THREADS - 1


def test_half_open_all_workers_together_send_no_more_probes_than_allowed(fleet: Fleet) -> None:
    services = service(breaker=Breaker(failures=1, open_for=0.05, half_open_probes=3), dead=1)
    with fleet.here() as engine:
        Gateway(engine, services).request(failing)

    def work(engine: NodeEngine) -> int:
        gateway = Gateway(engine, services)
        refused: list[bool] = []
        everyone_asked = threading.Event()

        def stuck(exchange: Exchange) -> Answer:
            everyone_asked.wait(20)
            return fine(exchange)

        def thread() -> None:
            try:
                gateway.request(stuck)
            except CircuitOpen:
                refused.append(True)

        def tell() -> None:
            until(lambda: len(gateway.reached) + len(refused) == THREADS)
            meet(engine, "asked")
            everyone_asked.set()

        meet(engine, "ready")
        teller = threading.Thread(target=tell)
        teller.start()
        in_threads(thread)
        teller.join()
        return len(gateway.reached)

    time.sleep(0.06)  # the workers' clock is the system's, so here time really has to pass
    assert sum(worker.result() for worker in [fleet.start(work) for _ in range(WORKERS)]) == 3


def test_a_registration_is_seen_by_every_worker_on_its_next_request(fleet: Fleet) -> None:
    services = service(old=1)

    def work(engine: NodeEngine) -> list[str]:
        gateway = Gateway(engine, services)
        gateway.request(fine)
        meet(engine, "ready", 2)
        meet(engine, "registered", 2)
        gateway.request(fine)
        gateway.request(fine)
        return sorted(gateway.reached[1:])

    def register(engine: NodeEngine) -> None:
        gateway = Gateway(engine, services)
        meet(engine, "ready", 2)
        gateway.registry.register(Registration(service="echo", id="new", addr="http://new.test"))
        meet(engine, "registered", 2)

    reader, writer = fleet.start(work), fleet.start(register)
    writer.result()
    assert reader.result() == ["new", "old"]
