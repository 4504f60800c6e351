"""A world without sockets: stores over the memory engine, the stage in front of a backend that is a function."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import count
from typing import Any

from gateway.clock import FakeClock
from gateway.config import model
from gateway.config.model import Defaults, Retries, Service
from gateway.exchange import Answer, Exchange
from gateway.state.breakers import Breakers, Event
from gateway.state.budgets import RetryBudgets
from gateway.state.engines import Engine
from gateway.state.engines.memory import MemoryEngine
from gateway.state.health import Healths
from gateway.state.inflight import InFlight
from gateway.state.registration import Registration
from gateway.state.registry import Instance, Registry
from gateway.upstream.attempts import Attempts
from gateway.upstream.balancing import Balancing
from gateway.upstream.eligible import Eligible
from gateway.upstream.plans import Plan
from gateway.upstream.targets import EligibleSet

Backend = Callable[[Exchange], Answer]


def instances(*weights: int) -> list[Instance]:
    """a, b, c … with these weights."""
    return [
        Instance("echo", chr(ord("a") + at), f"http://10.0.0.{at}:80", weight=weight)
        for at, weight in enumerate(weights)
    ]


def counting() -> Callable[[], int]:
    return count().__next__


def service(*ids: str, **settings: Any) -> Service:
    """A service with these instances in the configuration. One attempt, unless `retries` says otherwise."""
    settings.setdefault("retries", Retries(attempts=1))
    return Service(instances=tuple(model.Instance(id=id, url=f"http://{id}.test:80") for id in ids), **settings)


def answer(status: int = 200, body: Iterable[bytes] | None = None) -> Answer:
    return Answer(status, [], [b"ok"] if body is None else body)


class World:
    """One worker. `backends` answers by instance id; an exception is raised; the default is 200."""

    def __init__(self, services: Mapping[str, Service], engine: Engine | None = None, clock: FakeClock | None = None):
        self.clock = clock or FakeClock()
        self.engine = engine or MemoryEngine(1 << 22, self.clock)
        self.events: list[Event] = []
        self.breakers = Breakers(self.engine, self.clock, [self.events.append], peers=self._peers)
        self.inflight = InFlight(self.engine)
        self.healths = Healths(self.engine, self.clock, ())
        self.budgets = RetryBudgets(self.engine)
        self.registry = Registry(self.engine, self.clock, services, Defaults(), gone=self.forget)
        self.eligible = Eligible(
            self.registry,
            self.breakers,
            self.healths,
            self.inflight,
            budgets=self.budgets,
            balancer_of=Balancing(self.engine, self.inflight).of,
            clock=self.clock,
        )
        self.slept: list[float] = []
        self.stage = Attempts(self.eligible, self.inflight, self.clock, self.sleep, lambda: 1.0)
        self.backends: dict[str, Answer | BaseException | Backend] = {}
        self.reached: list[str] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.clock.advance(seconds)

    def _peers(self, name: str) -> list[str]:
        return self.registry.keys(name)

    def forget(self, key: str) -> None:
        self.breakers.forget(key)
        self.healths.forget(key)
        self.inflight.forget(key)

    def worker(self, services: Mapping[str, Service]) -> World:
        """Another worker of the same node."""
        return World(services, self.engine, self.clock)

    def register(self, name: str, id: str, **more: Any) -> None:
        self.registry.register(Registration(service=name, id=id, addr=f"http://{id}.test", **more))

    def exchange(self, name: str | None = "echo", *, template: bool = False, timeouts: Any = None) -> Exchange:
        exchange = Exchange({"REQUEST_METHOD": "GET"}, "external")
        exchange.service_name = name
        exchange.received = self.clock.monotonic()
        exchange.route = route_of(template, timeouts)
        return exchange

    def request(self, name: str | None = "echo", exchange: Exchange | None = None) -> Answer:
        return self.stage(exchange or self.exchange(name), self._proceed)

    def reach(self, times: int, name: str = "echo") -> str:
        """The ids that so many requests reached, joined."""
        before = len(self.reached)
        for _ in range(times):
            self.request(name)
        return "".join(self.reached[before:])

    def set(self, name: str = "echo") -> EligibleSet:
        found = self.eligible.of(name, self.clock.monotonic())
        assert found is not None
        return found

    def plan(self, name: str = "echo", route: Route | None = None) -> Plan:
        found = self.eligible.plan(name, route or _PLAIN, self.clock.monotonic())
        assert found is not None
        return found

    def in_flight(self, id: str, name: str = "echo") -> int:
        return self.inflight.in_flight_of(f"{name}/{id}@http://{id}.test:80")

    def requests(self, id: str, name: str = "echo") -> int:
        return self.inflight.requests_of(f"{name}/{id}@http://{id}.test:80")

    def _proceed(self, exchange: Exchange) -> Answer:
        self.reached.append(exchange.instance.id)
        outcome = self.backends.get(exchange.instance.id)
        if outcome is None:
            return answer()
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome if isinstance(outcome, Answer) else outcome(exchange)


class Route:
    """What the stage reads of a route; compared by identity, as the real one is."""

    def __init__(self, *, template: bool = False, **given: Any) -> None:
        self.service_position = 1 if template else None
        self.timeouts = given.get("timeouts")
        self.retries = given.get("retries")
        self.balancer = given.get("balancer")
        self.tags = given.get("tags", ())


_PLAIN, _TEMPLATE = Route(), Route(template=True)


def route_of(template: bool, timeouts: Any) -> Route:
    if timeouts is not None:
        return Route(template=template, timeouts=timeouts)
    return _TEMPLATE if template else _PLAIN
