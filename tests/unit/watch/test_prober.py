"""The schedule of probes, one turn after the other, with probes that are functions and a clock that is moved."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from threading import Event

import pytest
import structlog

from gateway.clock import FakeClock
from gateway.config import model
from gateway.config.model import ActiveHealth, Defaults, Health, PassiveHealth, Service
from gateway.state.engines import Engine
from gateway.state.health import Healths
from gateway.state.operations import health as machine
from gateway.state.operations.health import Finding
from gateway.state.registration import Registration
from gateway.state.registry import Instance, Registry
from gateway.watch.crew import Work
from gateway.watch.prober import JITTER, LOOK, Prober
from tests.support.engines import KINDS, engine_of

INTERVAL = 4.0
GOOD, BAD = Finding(machine.GOOD), Finding(machine.REFUSED)


def service(*ids: str, interval: float = INTERVAL, **health: object) -> Service:
    settings = Health(**{"active": ActiveHealth(interval=interval), **health})  # type: ignore[arg-type]
    return Service(instances=tuple(model.Instance(id=id, url=f"http://{id}.test:80") for id in ids), health=settings)


class Worker:
    """A worker whose probes are done at once, or when the test takes them out of `waiting`."""

    def __init__(self, node: Node, services: dict[str, Service], seed: int = 1) -> None:
        self.node = node
        self.eligible = True
        self.waiting: list[Work] | None = None
        self.registry = Registry(node.engine, node.clock, services, Defaults())
        self.healths = Healths(node.engine, node.clock, [lambda event: node.events.append(event.name)])
        self.prober = Prober(
            registry=self.registry, healths=self.healths, engine=node.engine, clock=node.clock, probe=self.probe,
            submit=self.submit, eligible=lambda: self.eligible, random=Random(seed),
        )  # fmt: skip

    def submit(self, work: Work) -> None:
        if self.waiting is None:
            work()
        else:
            self.waiting.append(work)

    def probe(self, instance: Instance, service: Service, settings: ActiveHealth) -> Finding | None:
        self.node.probes.append((self.node.clock.monotonic() - self.node.began, self, instance.id))
        return self.node.finding(instance.id)

    def turn(self) -> float:
        return self.prober.turn(self.node.clock.monotonic())


class Node:
    def __init__(self, engine: Engine, clock: FakeClock) -> None:
        self.engine, self.clock = engine, clock
        self.began = clock.monotonic()
        self.probes: list[tuple[float, Worker, str]] = []
        self.events: list[str] = []
        self.finding: Callable[[str], Finding | None] = lambda id: GOOD

    def worker(self, seed: int = 1, **services: Service) -> Worker:
        return Worker(self, services or {"echo": service("a")}, seed)

    def run(self, seconds: float, *workers: Worker) -> None:
        """Let the workers take their turns when they want them."""
        end = self.clock.monotonic() + seconds
        due = {worker: self.clock.monotonic() for worker in workers}
        while (now := min(due.values())) < end:
            self.clock.advance(max(0.0, now - self.clock.monotonic()))
            for worker, at in due.items():
                if at <= now:
                    due[worker] = worker.turn()
                    assert now < due[worker] <= now + LOOK
        self.clock.advance(end - self.clock.monotonic())

    def times(self, id: str = "a", worker: Worker | None = None) -> list[float]:
        return [at for at, by, of in self.probes if of == id and worker in {None, by}]


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    clock = FakeClock()
    with engine_of("memory", tmp_path, clock) as engine:
        yield Node(engine, clock)


def gaps(times: list[float]) -> list[float]:
    return [after - before for before, after in itertools.pairwise(times)]


def test_probing_begins_at_once_and_goes_on_in_the_interval_with_jitter(node: Node) -> None:
    node.run(100 * INTERVAL, node.worker())
    times = node.times()
    assert times[0] == 0.0
    assert all(INTERVAL * (1 - JITTER) - 1e-6 <= gap <= INTERVAL * (1 + JITTER) + 1e-6 for gap in gaps(times))
    assert len(times) == pytest.approx(100, abs=5)
    assert len({round(gap, 6) for gap in gaps(times)}) > 90


def test_instances_of_one_service_drift_apart(node: Node) -> None:
    node.run(20 * INTERVAL, node.worker(echo=service("a", "b")))
    assert node.times("a")[0] == node.times("b")[0]
    assert node.times("a")[-1] != node.times("b")[-1]


@pytest.mark.parametrize("kind", KINDS)
def test_only_one_worker_probes(kind: str, tmp_path: Path) -> None:
    clock = FakeClock()
    with engine_of(kind, tmp_path, clock) as engine:
        node = Node(engine, clock)
        one, *others = workers = [node.worker(seed) for seed in range(4)]
        node.run(20 * INTERVAL, *workers)
        assert node.times(worker=one)
        assert not any(node.times(worker=other) for other in others)


def test_the_counts_go_on_when_another_worker_takes_over(node: Node) -> None:
    node.finding = lambda id: BAD
    one, other = node.worker(), node.worker()
    node.run(1.5 * INTERVAL, one, other)
    assert (len(node.times()), node.events) == (2, [])
    node.run(INTERVAL, other)  # the first has died
    assert (len(node.times(worker=other)), node.events) == (1, ["unhealthy"])


@pytest.mark.parametrize("interval", [0.3, 1.0, 4.0, 60.0])
@pytest.mark.parametrize("seed", range(5))
def test_when_the_prober_dies_another_takes_over_within_two_intervals(node: Node, interval: float, seed: int) -> None:
    one, other = (node.worker(seed + at, echo=service("a", interval=interval)) for at in (0, 10))
    node.run(interval * (3 + seed / 5), one, other)
    last = node.times()[-1]
    node.run(2 * interval, other)
    assert node.times(worker=other)[0] - last <= 2 * interval


def test_a_worker_that_stood_still_gives_way(node: Node) -> None:
    one, other = node.worker(), node.worker()
    node.run(INTERVAL, one, other)
    node.run(2 * INTERVAL, other)
    before = len(node.times(worker=one))
    node.run(5 * INTERVAL, one, other)
    assert len(node.times(worker=one)) == before


def test_a_worker_of_another_generation_gives_the_lease_back_at_once(node: Node) -> None:
    old, new = node.worker(), node.worker(echo=service("a", interval=30.0))
    new.eligible = False
    node.run(1.0, old, new)
    old.eligible, new.eligible = False, True
    node.run(3 * LOOK, old, new)
    assert [by for _, by, _ in node.probes] == [old, new]
    node.run(2 * INTERVAL, old, new)
    assert [by for _, by, _ in node.probes] == [old, new]


def test_a_worker_that_stops_gives_the_lease_back(node: Node) -> None:
    one, other = node.worker(), node.worker()
    node.run(1.0, one, other)
    one.prober.stop()
    node.run(2 * LOOK, other)
    assert len(node.times(worker=other)) == 1


def test_who_registers_later_is_probed_soon_and_who_went_no_more(node: Node) -> None:
    worker = node.worker(echo=service())
    node.run(1.0, worker)
    worker.registry.register(Registration(service="echo", id="late", addr="http://late.test:80"))
    node.run(2 * LOOK, worker)
    assert len(node.times("late")) == 1
    worker.registry.deregister("echo", "late")
    node.run(5 * INTERVAL, worker)
    assert len(node.times("late")) == 1


def test_a_lease_that_is_renewed_does_not_disturb_the_schedule(node: Node) -> None:
    worker = node.worker(echo=service())
    for _ in range(20):
        worker.registry.register(Registration(service="echo", id="a", addr="http://a.test:80", ttl=30.0))
        node.run(1.0, worker)
    assert min(gaps(node.times())) >= INTERVAL * (1 - JITTER) - 1e-6


def test_services_have_intervals_of_their_own_or_none(node: Node) -> None:
    worker = node.worker(
        fast=service("f", interval=1.0), slow=service("s", interval=10.0), bare=service("b", active=None)
    )
    node.run(20.0, worker)
    assert len(node.times("f")) == pytest.approx(20, abs=2)
    assert len(node.times("s")) == pytest.approx(2, abs=1)
    assert not node.times("b")


def test_a_probe_does_not_overlap_itself_and_delays_no_other(node: Node) -> None:
    worker = node.worker(echo=service("a", "b"))
    worker.waiting = []
    node.run(1.0, worker)
    hung, fine = worker.waiting
    fine()
    worker.waiting.clear()
    node.run(5 * INTERVAL, worker)
    assert len(worker.waiting) == 1  # the other one's, which is under way as well by now
    hung()
    node.run(2 * INTERVAL, worker)
    assert len(worker.waiting) == 2


def test_what_is_found_after_the_instance_went_is_not_kept(node: Node) -> None:
    node.finding = lambda id: BAD
    worker = node.worker(echo=service())
    worker.waiting = []
    worker.registry.register(Registration(service="echo", id="a", addr="http://a.test:80"))
    worker.turn()
    (instance,) = worker.registry.snapshot().services["echo"].instances
    worker.registry.deregister("echo", "a")
    worker.waiting[0]()
    assert worker.healths.of(instance, Health()).record.read() == machine.INITIAL


def test_what_says_nothing_about_the_instance_is_not_kept(node: Node) -> None:
    node.finding = lambda id: None
    node.run(10 * INTERVAL, node.worker())
    assert node.events == []


def test_a_return_by_time_is_told_soon(node: Node) -> None:
    worker = node.worker(echo=service("a", active=None, passive=PassiveHealth(failures=1, retry_after=10.0)))
    node.run(1.0, worker)
    view = worker.registry.snapshot().services["echo"]
    worker.healths.of(view.instances[0], view.settings.health).failed()
    node.run(9.0, worker)
    assert node.events == ["unhealthy"]
    node.run(2.5, worker)
    assert node.events == ["unhealthy", "healthy"]


def test_it_runs_in_a_thread_of_its_own_and_survives_errors(node: Node) -> None:
    worker = node.worker()
    asked = Event()

    def eligible() -> bool:
        asked.set()
        raise RuntimeError("boom")

    prober = Prober(
        registry=worker.registry, healths=worker.healths, engine=node.engine, clock=node.clock, probe=worker.probe,
        submit=worker.submit, eligible=eligible, random=Random(1),
    )  # fmt: skip
    with structlog.testing.capture_logs() as lines:
        prober.start()
        assert asked.wait(10.0)
        prober.stop()
    assert [line["event"] for line in lines] == ["prober_failed"]
