"""What operators ordered outlives a restart: the documents stay, the records begin anew."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.clock import FakeClock
from gateway.config.model import Breaker as BreakerSettings
from gateway.config.model import Health as HealthSettings
from gateway.errors import StoreFull
from gateway.state.breakers import Action as BreakerAction
from gateway.state.breakers import Breakers
from gateway.state.engines import Engine
from gateway.state.engines.memory import MemoryEngine
from gateway.state.health import Action, Healths
from gateway.state.orders import Orders
from gateway.state.registry import Instance
from tests.support.engines import engine_of

STATIC = Instance("echo", "one", "http://127.0.0.1:8081")
REGISTERED = Instance("echo", "two", "http://127.0.0.1:8082", "registered", since=1000.5)


class Life:
    """The gateway between a start and its end."""

    def __init__(self, engine: Engine, clock: FakeClock) -> None:
        self.engine, self.clock = engine, clock
        self.healths = Healths(engine, clock, ())
        self.breakers = Breakers(engine, clock, ())
        self.orders = Orders(engine, self.healths, self.breakers)

    def steer(self, instance: Instance, action: Action) -> None:
        self.healths.of(instance, HealthSettings()).steer(action)
        self.orders.keep(instance)

    def steer_breaker(self, instance: Instance, action: BreakerAction) -> None:
        breaker = self.breakers.of(instance, BreakerSettings())
        assert breaker is not None
        breaker.steer(action)
        self.orders.keep(instance)

    def state(self, instance: Instance) -> tuple[str, str]:
        """Mode and phase."""
        now = self.clock.monotonic()
        breaker = self.breakers.of(instance, BreakerSettings())
        assert breaker is not None
        return self.healths.of(instance, HealthSettings()).mark(now).mode, breaker.status(now).state

    @property
    def documents(self) -> list[str]:
        return [key for key, _ in self.engine.scan("orders/")]


class Gateway:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.clock = FakeClock()

    @contextmanager
    def life(self, *instances: Instance) -> Iterator[Life]:
        """A start over the same folder, with fresh records; these instances are there."""
        with engine_of("node", self._folder, self.clock) as engine:
            life = Life(engine, self.clock)
            life.orders.restore(instances)
            yield life


@pytest.fixture
def gateway(tmp_path: Path) -> Gateway:
    return Gateway(tmp_path)


@pytest.mark.parametrize(("action", "mode"), [("drain", "draining"), ("disable", "disabled")])
@pytest.mark.parametrize("instance", [STATIC, REGISTERED], ids=["static", "registered"])
def test_what_was_steered_is_steered_after_a_restart(gateway: Gateway, instance: Instance, action: Action, mode: str):
    with gateway.life() as life:
        life.steer(instance, action)
    for _ in range(2):
        with gateway.life(STATIC, REGISTERED) as life:
            other = REGISTERED if instance is STATIC else STATIC
            assert (life.state(instance), life.state(other)) == ((mode, "closed"), ("up", "closed"))


@pytest.mark.parametrize(
    ("action", "phase"),
    [("force_open", "forced_open"), ("force_close", "forced_closed"), ("disable", "disabled")],
)
def test_a_breaker_that_was_held_is_held_after_a_restart(gateway: Gateway, action: BreakerAction, phase: str):
    with gateway.life() as life:
        life.steer_breaker(STATIC, action)
    with gateway.life(STATIC) as life:
        assert life.state(STATIC) == ("up", phase)


def test_both_are_kept_and_taken_back_one_by_one(gateway: Gateway):
    with gateway.life() as life:
        life.steer(STATIC, "drain")
        life.steer_breaker(STATIC, "force_open")
    with gateway.life(STATIC) as life:
        assert life.state(STATIC) == ("draining", "forced_open")
        life.steer(STATIC, "undrain")
    with gateway.life(STATIC) as life:
        assert life.state(STATIC) == ("up", "forced_open")
        life.steer_breaker(STATIC, "reset")
        assert life.documents == []
    with gateway.life(STATIC) as life:
        assert life.state(STATIC) == ("up", "closed")


def test_a_worker_that_starts_later_changes_nothing(gateway: Gateway):
    """Its look at the documents may be older than an order that another worker has just taken."""
    with gateway.life() as life:
        life.steer(STATIC, "drain")
        before = life.engine.get("orders/echo/one")
        assert before is not None
        life.steer(STATIC, "undrain")
        life.engine.put("orders/echo/one", before)
        life.orders.restore([STATIC])
        assert life.state(STATIC) == ("up", "closed")


@pytest.mark.parametrize(
    "later", [replace(REGISTERED, since=2000.0), replace(REGISTERED, url="http://127.0.0.1:9", key="")]
)
def test_orders_do_not_pass_to_another_instance_of_the_name(gateway: Gateway, later: Instance):
    with gateway.life() as life:
        life.steer(REGISTERED, "drain")
        life.steer_breaker(REGISTERED, "force_open")
    with gateway.life(later) as life:
        assert life.state(later) == ("up", "closed")
        assert life.documents == []


def test_orders_for_an_instance_of_the_configuration_wait_for_it(gateway: Gateway):
    with gateway.life() as life:
        life.steer(STATIC, "drain")
    with gateway.life() as life:
        assert life.documents == ["orders/echo/one"]
    with gateway.life(STATIC) as life:
        assert life.state(STATIC) == ("draining", "closed")


def test_the_orders_of_an_instance_that_is_gone_are_forgotten(gateway: Gateway):
    with gateway.life() as life:
        life.steer(STATIC, "drain")
        life.steer(REGISTERED, "drain")
        life.orders.forget("echo/two@http://another:1")
        assert life.documents == ["orders/echo/one", "orders/echo/two"]
        life.orders.forget(REGISTERED.key)
        assert life.documents == ["orders/echo/one"]


@pytest.mark.parametrize(
    "value",
    [b"", b"[]", b"{}", b"\xff", b'{"key": "echo/one@http://127.0.0.1:8081", "since": "x", "mode": 1, "phase": []}'],
)
def test_a_document_of_another_version_is_passed_over(gateway: Gateway, value: bytes):
    with gateway.life() as life:
        life.engine.put("orders/echo/one", value)
        life.engine.put(
            "orders/echo/two",
            json.dumps({"key": REGISTERED.key, "since": 1000.5, "mode": "lazy", "phase": "ajar"}).encode(),
        )
    with gateway.life(STATIC, REGISTERED) as life:
        assert (life.state(STATIC), life.state(REGISTERED)) == (("up", "closed"), ("up", "closed"))


def test_what_changes_while_it_is_written_is_written_again():
    """Another operator's order comes between the look and the write."""
    clock = FakeClock()

    class Interrupted(MemoryEngine):
        interrupt = True

        def put(self, key: str, value: bytes, ttl: float | None = None) -> None:
            if self.interrupt:
                self.interrupt = False
                life.healths.of(STATIC, HealthSettings()).steer("undrain")
            super().put(key, value, ttl)

    life = Life(Interrupted(1 << 20, clock), clock)
    life.steer(STATIC, "drain")
    assert life.documents == []


def test_an_order_that_cannot_be_kept_says_that_it_is_in_force():
    clock = FakeClock()

    class Full(MemoryEngine):
        def put(self, key: str, value: bytes, ttl: float | None = None) -> None:
            raise StoreFull("documents are full")

    life = Life(Full(1 << 20, clock), clock)
    with pytest.raises(StoreFull, match=r"in force, but will not outlive a restart: documents are full") as caught:
        life.steer(STATIC, "drain")
    assert caught.value.instance == "one"
    assert life.state(STATIC) == ("draining", "closed")
